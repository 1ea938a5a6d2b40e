"""Reading of scenarios, and substitution of variables."""

import tempfile
import unittest
from pathlib import Path

from conformance import paths, scenario
from conformance.errors import ScenarioError
from conformance.scenario import substitute

WRONG = {
    "- {name: a, steps: [{call: get}]}": "about is missing",
    "- {name: A, about: x, steps: [{call: get}]}": "expected 1 to 40 characters",
    "- {name: a, about: x, step: [], steps: [{call: get}]}": "unknown step",
    "- {name: a, about: x, world: {replica: 2}, steps: [{call: get}]}": "unknown replica",
    "- {name: a, about: x, steps: [{calls: get}]}": "begins with 'calls'",
    "- {name: a, about: x, steps: [{until: get}]}": "until needs expect",
    "- {name: a, about: x, steps: [{start: get}]}": "start needs as",
    "- {name: a, about: x, steps: [{raw: Get, key: k}]}": "unknown key",
    "- {name: a, about: x, steps: [{each: {i: 2}, steps: [{cal: get}]}]}": "begins with 'cal'",
    "- {name: a, about: x, steps: [{call: get}]}\n- {name: a, about: x, steps: [{call: get}]}": "two scenarios",
}


class Scenarios(unittest.TestCase):
    def test_the_files_of_the_suite_are_read(self) -> None:
        self.assertGreaterEqual(len(scenario.read(paths.SCENARIOS)), 80)
        self.assertGreaterEqual(len(scenario.read(paths.INTEROP)), 8)

    def test_a_mistake_is_named(self) -> None:
        for text, words in WRONG.items():
            with self.subTest(text=text), tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "wrong.yaml"
                path.write_text(text)
                with self.assertRaises(ScenarioError) as raised:
                    scenario.read(path)
                self.assertIn(words, str(raised.exception))

    def test_variables_are_replaced(self) -> None:
        variables = {"i": 7, "bytes": 1, "case": {"at": {"key": "k"}, "value": None}}
        rows = [
            ("$i", 7),
            ("k$i", "k7"),
            ("k${i}0", "k70"),
            ("$other", "$other"),
            ("${case.at}", {"key": "k"}),
            ("${case.value}", None),
            ("${case.none}", "${case.none}"),
            ({"$bytes": "AA=="}, {"$bytes": "AA=="}),
            ({"a": ["$i", {"b": "$i"}]}, {"a": [7, {"b": 7}]}),
            ({"$add": ["$i", -1]}, 6),
            ({"$repeat": ["ab", 3]}, "ababab"),
            ({"$keys": ["k", 3]}, ["k0", "k1", "k2"]),
            ({"a": 1, "$merge": "${case.at}"}, {"a": 1, "key": "k"}),
        ]
        for part, expected in rows:
            with self.subTest(part=part):
                self.assertEqual(substitute(part, variables), expected)
