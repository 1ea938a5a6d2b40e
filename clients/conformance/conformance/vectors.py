"""Test vectors: keys, keys of arguments, and encodings of values."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import msgpack

from conformance import paths
from conformance.errors import Mismatch, ScenarioError
from conformance.expect import differences, same
from conformance.runner import Runner

CONTENT_TYPES = {"json": "application/json", "msgpack": "application/msgpack", "bytes": "application/octet-stream"}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


async def check(kind: str, runner: Runner) -> None:
    """Compares the runner's answers to all vectors of a kind. Reports every difference."""
    checks = {"keys": _key, "argument_keys": _argument_key, "values": _value, "unreadable": _unreadable}
    if kind not in checks:
        raise ScenarioError(f"vectors {kind!r}: expected one of {', '.join(checks)}")
    rows = json.loads(paths.VECTORS.read_text())[kind]
    failures = []
    for row in rows:
        failures += [
            f"  {json.dumps(row, ensure_ascii=False)[:200]}: {line}" for line in await checks[kind](row, runner)
        ]
    if failures:
        raise Mismatch(f"  {len(failures)} differences in {len(rows)} vectors of {kind}\n" + "\n".join(failures[:20]))


async def _key(row: dict[str, Any], runner: Runner) -> list[str]:
    answer = await runner.call("key", {"template": row["template"], "values": row["values"]})
    return differences(_key_or_usage(row), answer)


async def _argument_key(row: dict[str, Any], runner: Runner) -> list[str]:
    answer = await runner.call("argument_key", {"prefix": row["prefix"], "arguments": row["arguments"]})
    return differences(_key_or_usage(row), answer)


def _key_or_usage(row: dict[str, Any]) -> dict[str, Any]:
    return {"key": row["key"]} if "key" in row else {"error": {"kind": "usage"}}


async def _value(row: dict[str, Any], runner: Runner) -> list[str]:
    """Encodes the value, and decodes each of the vector's encodings."""
    serializer, value = row["serializer"], row["value"]
    answer = await runner.call("encode", {"serializer": serializer, "value": value})
    if "bytes" not in answer:
        return [f"encode: {answer}"]
    found = differences({"content_type": CONTENT_TYPES[serializer]}, answer)
    found += _encoding(serializer, value, base64.b64decode(answer["bytes"]))
    content_type = row.get("content_type", CONTENT_TYPES[serializer])
    for encoded in row["encodings"]:
        arguments = {"serializer": serializer, "bytes": encoded, "content_type": content_type}
        decoded = await runner.call("decode", arguments)
        found += [f"decode of {encoded}: {line}" for line in differences({"value": value}, decoded)]
    return found


def _encoding(serializer: str, value: Any, encoded: bytes) -> list[str]:
    """Checks bytes that a runner made: libraries may differ in the order of names and in escapes."""
    try:
        decoded = _DECODERS[serializer](encoded)
    except ValueError as error:
        return [f"encode: {encoded!r}: {error}"]
    if not same(value, decoded):
        return [f"encode: {encoded!r} is another value"]
    if serializer == "json" and re.search(r"\s", _STRING.sub("", encoded.decode())):
        return ["encode: JSON with spaces"]
    return []


def marked(value: Any) -> Any:
    """Replaces bytes by `{$bytes: …}`."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: marked(part) for name, part in value.items()}
    return [marked(part) for part in value] if isinstance(value, list) else value


_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "json": lambda encoded: json.loads(encoded.decode()),
    "msgpack": lambda encoded: marked(msgpack.unpackb(encoded)),
    "bytes": marked,
}


async def _unreadable(row: dict[str, Any], runner: Runner) -> list[str]:
    arguments = {name: row[name] for name in ("serializer", "bytes", "content_type")}
    return differences({"error": {"kind": "unreadable"}}, await runner.call("decode", arguments))
