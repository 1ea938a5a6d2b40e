"""Comparison of answers with expectations."""

import unittest

from conformance.expect import differences, seconds

MEETS = [
    ({}, {"a": 1}),
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": 1}, {"a": 1.0}),
    ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2, "d": 3}]}}),
    ({"value": {"a": {"b": 1}}}, {"value": {"a": {"b": 1}}}),
    ({"value": None}, {"value": None}),
    ({"n": {"at_least": 1, "at_most": 3}}, {"n": 2}),
    ({"n": {"at_least": 1, "at_most": 1}}, {"n": 1}),
    ({"d": {"longer_than": "3m", "shorter_than": "6m"}}, {"d": "299.5s"}),
    ({"t": {"matches": "^a+$"}}, {"t": "aaa"}),
    ({"t": {"contains": "b"}}, {"t": "abc"}),
    ({"t": {"length_at_most": 3}}, {"t": [1, 2, 3]}),
    ({"values": {"length_at_least": 2}}, {"values": {"a": 1, "b": 2}}),
    ({"t": {"one_of": [1, {"a": 2}]}}, {"t": {"a": 2, "b": 3}}),
    ({"t": {"some": {"a": {"at_least": 2}}}}, {"t": [{"a": 1}, {"a": 2}]}),
    ({"t": {"every": {"a": {"at_least": 1}}}}, {"t": [{"a": 1}, {"a": 2}]}),
    ({"t": {"not": 1}}, {"t": 2}),
    ({"t": {"exactly": {"a": 1}}}, {"t": {"a": 1}}),
    ({"t": {"missing": True}}, {}),
    ({"t": {"missing": False}}, {"t": None}),
]
DIFFERS = [
    ({"a": 1}, {}),
    ({"a": 1}, {"a": "1"}),
    ({"a": 1}, {"a": True}),
    ({"a": True}, {"a": 1}),
    ({"a": 0}, {"a": None}),
    ({"a": [1]}, {"a": [1, 2]}),
    ({"a": [1, 2]}, {"a": [2, 1]}),
    ({"value": {"a": 1}}, {"value": {"a": 1, "b": 2}}),
    ({"values": {"a": {"x": 1}}}, {"values": {"a": {"x": 1, "y": 2}}}),
    ({"n": {"at_least": 1}}, {"n": 0}),
    ({"n": {"at_least": 1}}, {"n": "2"}),
    ({"n": {"at_least": 1}}, {}),
    ({"n": {"at_least": 1, "at_most": 3}}, {"n": 4}),
    ({"d": {"longer_than": "3m"}}, {"d": "180s"}),
    ({"d": {"longer_than": "3m"}}, {"d": "soon"}),
    ({"t": {"matches": "^a+$"}}, {"t": "ab"}),
    ({"t": {"contains": "d"}}, {"t": "abc"}),
    ({"t": {"length_at_most": 2}}, {"t": "abc"}),
    ({"values": {"length_at_least": 2}}, {"values": {"a": 1}}),
    ({"t": {"one_of": [1, 2]}}, {"t": 3}),
    ({"t": {"some": {"a": 3}}}, {"t": [{"a": 1}]}),
    ({"t": {"every": {"a": 1}}}, {"t": [{"a": 1}, {"a": 2}]}),
    ({"t": {"not": {"a": 1}}}, {"t": {"a": 1, "b": 2}}),
    ({"t": {"not": 1}}, {}),
    ({"t": {"exactly": {"a": 1}}}, {"t": {"a": 1, "b": 2}}),
    ({"t": {"missing": True}}, {"t": None}),
    ({"t": {"missing": False}}, {}),
]


class Expectations(unittest.TestCase):
    def test_an_answer_that_meets_has_no_differences(self) -> None:
        for expected, actual in MEETS:
            with self.subTest(expected=expected, actual=actual):
                self.assertEqual(differences(expected, actual), [])

    def test_an_answer_that_differs_is_described(self) -> None:
        for expected, actual in DIFFERS:
            with self.subTest(expected=expected, actual=actual):
                self.assertTrue(differences(expected, actual))

    def test_a_difference_names_its_place(self) -> None:
        found = differences({"a": [{"b": 1}]}, {"a": [{"b": 2}]})
        self.assertEqual(found, ["a[0].b: expected 1, got 2"])

    def test_durations_have_the_units_of_the_configuration(self) -> None:
        self.assertEqual([seconds(text) for text in ("250ms", "2s", "1.5m", "1h", "1d")], [0.25, 2, 90, 3600, 86400])
        with self.assertRaises(ValueError):
            seconds("5")
