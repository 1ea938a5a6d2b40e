"""Comparison of answers with expectations. README.md lists the operators."""

import re
from collections.abc import Callable, Iterator
from typing import Any

# Fields that hold values of callers: they are compared as they stand.
EXACT = {"value", "values"}
MISSING = object()


def differences(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Returns a line for each difference, or nothing if the answer meets the expectation."""
    return list(_compare(expected, actual, path, exact=False))


def _compare(expected: Any, actual: Any, path: str, exact: bool) -> Iterator[str]:
    if isinstance(expected, dict) and expected and set(expected) <= set(OPERATORS):
        for name, operand in expected.items():
            yield from OPERATORS[name](operand, actual, path)
    elif actual is MISSING:
        yield f"{_at(path)}: expected {expected!r}, but it is missing"
    elif isinstance(expected, dict) and isinstance(actual, dict):
        yield from _compare_mapping(expected, actual, path, exact)
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            yield f"{_at(path)}: expected {len(expected)} elements, got {len(actual)}: {actual!r}"
        for index, (left, right) in enumerate(zip(expected, actual, strict=False)):
            yield from _compare(left, right, f"{path}[{index}]", exact)
    elif not same(expected, actual):
        yield f"{_at(path)}: expected {expected!r}, got {actual!r}"


def _compare_mapping(expected: dict[str, Any], actual: dict[str, Any], path: str, exact: bool) -> Iterator[str]:
    for name, part in expected.items():
        inner = f"{path}.{name}" if path else str(name)
        yield from _compare(part, actual.get(name, MISSING), inner, exact or name in EXACT)
    if exact:
        for name in actual.keys() - expected.keys():
            yield f"{_at(path)}: did not expect {name!r}: {actual[name]!r}"


def same(left: Any, right: Any) -> bool:
    """Compares JSON values: 1 equals 1.0, but not true."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def seconds(text: Any) -> float:
    """Converts a duration as in the configuration, such as 250ms or 5m, to seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", str(text))
    if not match:
        raise ValueError(f"duration {text!r}: expected a number and one of ms, s, m, h, d")
    unit = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    return float(match[1]) * unit


def _at(path: str) -> str:
    return path or "answer"


def _check(test: Callable[[Any, Any], bool], words: str) -> Callable[[Any, Any, str], Iterator[str]]:
    """Makes an operator of a test; a value that the test cannot handle fails it."""

    def operator(operand: Any, actual: Any, path: str) -> Iterator[str]:
        try:
            met = actual is not MISSING and test(operand, actual)
        except (TypeError, ValueError):
            met = False
        if not met:
            shown = "nothing" if actual is MISSING else repr(actual)
            yield f"{_at(path)}: expected {words} {operand!r}, got {shown}"

    return operator


def _missing(operand: Any, actual: Any, path: str) -> Iterator[str]:
    if operand and actual is not MISSING:
        yield f"{_at(path)}: expected nothing, got {actual!r}"
    if not operand and actual is MISSING:
        yield f"{_at(path)}: expected anything, but it is missing"


def _meets(operand: Any, actual: Any) -> bool:
    return not differences(operand, actual)


OPERATORS: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
    "at_least": _check(lambda bound, value: value >= bound, "at least"),
    "at_most": _check(lambda bound, value: value <= bound, "at most"),
    "longer_than": _check(lambda bound, value: seconds(value) > seconds(bound), "a duration above"),
    "shorter_than": _check(lambda bound, value: seconds(value) < seconds(bound), "a duration below"),
    "length_at_most": _check(lambda bound, value: len(value) <= bound, "a length of at most"),
    "length_at_least": _check(lambda bound, value: len(value) >= bound, "a length of at least"),
    "matches": _check(lambda pattern, text: re.search(pattern, text) is not None, "a match of"),
    "contains": _check(lambda part, whole: part in whole, "something that contains"),
    "one_of": _check(lambda options, value: any(_meets(option, value) for option in options), "one of"),
    "some": _check(lambda part, values: any(_meets(part, value) for value in values), "an element like"),
    "every": _check(lambda part, values: all(_meets(part, value) for value in values), "only elements like"),
    "not": _check(lambda part, value: not _meets(part, value), "anything but"),
    "exactly": _check(lambda whole, value: same(whole, value), "exactly"),
    "missing": _missing,
}
