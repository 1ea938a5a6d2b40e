from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from twintier import (
    BytesSerializer,
    JsonSerializer,
    MsgpackSerializer,
    Template,
    UnreadableError,
    UsageError,
    argument_key,
)
from twintier._serializers import decode, encode, serializer

VECTORS = json.loads((Path(__file__).parents[3] / "conformance" / "vectors.json").read_text())


def _bytes(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$bytes"}:
            return base64.b64decode(value["$bytes"])
        return {name: _bytes(item) for name, item in value.items()}
    return [_bytes(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=str)
def test_templates(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with pytest.raises(UsageError):
            Template(vector["template"]).format(vector["values"])
    else:
        assert Template(vector["template"]).format(vector["values"]) == vector["key"]


@pytest.mark.parametrize("vector", VECTORS["argument_keys"], ids=str)
def test_argument_keys(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with pytest.raises(UsageError):
            argument_key(vector["prefix"], vector["arguments"])
    else:
        assert argument_key(vector["prefix"], vector["arguments"]) == vector["key"]


@pytest.mark.parametrize("vector", VECTORS["values"], ids=str)
def test_values(vector: dict[str, Any]) -> None:
    chosen = serializer(vector["serializer"])
    value = _bytes(vector["value"])
    content_type = vector.get("content_type", chosen.content_type)
    for encoding in [*map(base64.b64decode, vector["encodings"]), encode(chosen, "k", value)]:
        read = decode(chosen, encoding, content_type)
        assert (read, type(read)) == (value, type(value)) or read == pytest.approx(value)


@pytest.mark.parametrize("vector", VECTORS["unreadable"], ids=str)
def test_unreadable_values(vector: dict[str, Any]) -> None:
    chosen = serializer(vector["serializer"])
    with pytest.raises(UnreadableError):
        decode(chosen, base64.b64decode(vector["bytes"]), vector["content_type"])


@pytest.mark.parametrize(
    ("chosen", "value"),
    [
        (JsonSerializer(), float("nan")),
        (JsonSerializer(), object()),
        (JsonSerializer(), "\ud800"),
        (MsgpackSerializer(), object()),
        (BytesSerializer(), "text"),
    ],
)
def test_values_that_cannot_be_written_name_the_key(chosen: Any, value: object) -> None:
    with pytest.raises(UsageError, match="value of key 'k' cannot be written as"):
        encode(chosen, "k", value)


def test_arguments_that_are_not_json_are_named() -> None:
    for value in [object(), {1: 2}, float("inf"), {"a": {1, 2}}, "\ud800"]:
        with pytest.raises(UsageError, match="arguments of 'f' must be JSON"):
            argument_key("f", value)
