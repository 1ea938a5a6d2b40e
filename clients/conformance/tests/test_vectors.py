"""The vectors, checked with an implementation of their own."""

import base64
import json
import unittest
from typing import Any

import msgpack

from conformance import paths
from conformance.expect import same
from conformance.vectors import marked
from tests import reference

VECTORS = json.loads(paths.VECTORS.read_text())


class Vectors(unittest.TestCase):
    def check(self, row: dict[str, Any], make: Any) -> None:
        with self.subTest(row=row):
            if "error" in row:
                self.assertEqual(row["error"], "usage")
                self.assertRaises(reference.UsageError, make)
            else:
                self.assertEqual(make(), row["key"])

    def test_templates(self) -> None:
        for row in VECTORS["keys"]:
            self.check(row, lambda row=row: reference.key(row["template"], row["values"]))

    def test_keys_of_arguments(self) -> None:
        for row in VECTORS["argument_keys"]:
            self.check(row, lambda row=row: reference.argument_key(row["prefix"], row["arguments"]))
            if "canonical" in row:
                self.assertEqual(reference.canonical(row["arguments"]), row["canonical"])
                self.assertTrue(same(json.loads(row["canonical"]), row["arguments"]), row)

    def test_different_values_have_different_keys(self) -> None:
        seen: dict[tuple[str, str], str] = {}
        for row in VECTORS["keys"]:
            if "key" in row:
                texts = {
                    name: str(value).lower() if value in (True, False) else str(value)
                    for name, value in row["values"].items()
                }
                values = json.dumps(texts, sort_keys=True)
                self.assertEqual(seen.setdefault((row["template"], row["key"]), values), values, row)

    def test_every_encoding_is_the_value(self) -> None:
        decoders: dict[str, Any] = {
            "json": json.loads,
            "msgpack": lambda data: marked(msgpack.unpackb(data)),
            "bytes": marked,
        }
        for row in VECTORS["values"]:
            for encoded in row["encodings"]:
                with self.subTest(row=row, encoded=encoded):
                    self.assertTrue(same(decoders[row["serializer"]](base64.b64decode(encoded)), row["value"]))

    def test_there_are_enough(self) -> None:
        bounds = {"keys": 60, "argument_keys": 60, "values": 30, "unreadable": 20}
        self.assertEqual(VECTORS.keys(), bounds.keys())
        for kind, bound in bounds.items():
            self.assertGreaterEqual(len(VECTORS[kind]), bound, kind)
