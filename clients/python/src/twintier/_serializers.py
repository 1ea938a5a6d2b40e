"""Serializers: how values become bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from twintier._errors import UnreadableError, UsageError


class Serializer(Protocol):
    """An own serializer has these three members."""

    content_type: str
    """Stored beside the value. A value of another content type is unreadable."""

    def dumps(self, value: Any) -> bytes:
        """Returns the bytes of `value`; any error means that it cannot be stored."""

    def loads(self, data: bytes) -> Any:
        """Returns the value of `data`; any error means that it is unreadable."""


class JsonSerializer:
    """Compact UTF-8 JSON, readable from every language."""

    content_type = "application/json"
    _encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

    def __init__(self) -> None:
        decoder = json.JSONDecoder(parse_constant=_no_constant)
        self._decode = decoder.decode
        self._scan = decoder.scan_once  # type: ignore[attr-defined]

    def dumps(self, value: Any) -> bytes:
        """Returns `value` as JSON."""
        return self._encode(value).encode()

    def loads(self, data: bytes) -> Any:
        """Returns the value of JSON."""
        text = data.decode()
        try:
            value, end = self._scan(text, 0)
        except StopIteration:
            end = -1
        # Space around a value, and errors, are rare.
        return value if end == len(text) else self._decode(text)


def _no_constant(name: str) -> Any:
    # Python reads NaN and Infinity, which are not JSON.
    raise ValueError(f"{name} is not JSON")


class MsgpackSerializer:
    """MessagePack. Needs the package `msgpack`, which the extra `twintier[msgpack]` installs."""

    content_type = "application/msgpack"

    def __init__(self) -> None:
        try:
            import msgpack
        except ImportError:
            raise UsageError(
                "serializer 'msgpack' needs a package: pip install 'twintier[msgpack]'"
            ) from None
        self._module = msgpack

    def dumps(self, value: Any) -> bytes:
        """Returns `value` as MessagePack."""
        packed: bytes = self._module.packb(value)
        return packed

    def loads(self, data: bytes) -> Any:
        """Returns the value of MessagePack."""
        return self._module.unpackb(data, strict_map_key=False)


class BytesSerializer:
    """Bytes as they are."""

    content_type = "application/octet-stream"

    def dumps(self, value: Any) -> bytes:
        """Returns `value`, which must be bytes."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"a value must be bytes, was {type(value).__name__}")
        return bytes(value)

    def loads(self, data: bytes) -> bytes:
        """Returns `data`."""
        return data


_BUILT_IN: dict[str, Callable[[], Serializer]] = {
    "json": JsonSerializer,
    "msgpack": MsgpackSerializer,
    "bytes": BytesSerializer,
}


def serializer(choice: str | Serializer) -> Serializer:
    """Returns the serializer with the name `choice`, or `choice` itself if it is one."""
    if isinstance(choice, str):
        if choice not in _BUILT_IN:
            raise UsageError(f"serializer must be json, msgpack or bytes, was {choice!r}")
        return _BUILT_IN[choice]()
    for member in ("content_type", "dumps", "loads"):
        if not hasattr(choice, member):
            raise UsageError(f"serializer must have {member}, was {choice!r}")
    return choice


def encode(serializer: Serializer, key: str, value: Any) -> bytes:
    """Returns the bytes of `value`, or raises `UsageError`."""
    try:
        return serializer.dumps(value)
    except Exception as error:
        raise UsageError(
            f"value of key {key!r} cannot be written as {serializer.content_type}: {error}"
        ) from error


def readable(serializer: Serializer, content_type: str) -> bool:
    """Returns True if the content type is that of the serializer, apart from parameters."""
    expected = serializer.content_type
    return content_type == expected or content_type.partition(";")[0].rstrip() == expected


def decode(serializer: Serializer, data: bytes, content_type: str) -> Any:
    """Returns the value of `data`, or raises `UnreadableError`."""
    if not readable(serializer, content_type):
        raise UnreadableError(
            f"content type is {content_type!r}, expected {serializer.content_type!r}"
        )
    try:
        return serializer.loads(data)
    except Exception as error:
        raise UnreadableError(f"value cannot be read as {content_type}: {error}") from error
