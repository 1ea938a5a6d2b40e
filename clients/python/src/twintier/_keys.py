"""Keys: templates whose values are escaped, and keys from the hash of arguments."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import rfc8785

from twintier._errors import UsageError

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNSAFE = re.compile("[^A-Za-z0-9._~\\-\x80-\U0010ffff]")

LARGEST = 2**53 - 1
"""The largest integer that JSON numbers represent exactly, with all below it."""


class Template:
    """A key with named values: `user:{user_id}:orders`. `{{` and `}}` stand for braces."""

    def __init__(self, text: str) -> None:
        if not text:
            raise UsageError("a template must not be empty")
        check_unicode("a template", text)
        self.text = text
        self._pieces: list[tuple[str, str]] = []
        """Literal text, and the name of the value after it (empty after the last one)."""
        literal, end = "", 0
        for match in _PIECE.finditer(text):
            literal += text[end : match.start()]
            end = match.end()
            if match[1] is None:
                literal += self._brace(match[0])
            else:
                self._pieces.append((literal, self._name(match[1])))
                literal = ""
        self._pieces.append((literal + text[end:], ""))
        self.names = frozenset(name for _, name in self._pieces if name)
        """The names of the values."""

    def _brace(self, text: str) -> str:
        if len(text) == 1:
            raise UsageError(f"template {self.text!r} has a single {text!r}; write {text * 2!r}")
        return text[0]

    def _name(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise UsageError(f"template {self.text!r} has {name!r} in braces, which is not a name")
        return name

    def format(self, values: Mapping[str, Any]) -> str:
        """Returns the key with `values`, each of which the template must name."""
        unknown = sorted(values.keys() - self.names)
        if unknown:
            raise UsageError(f"template {self.text!r} does not name {', '.join(unknown)}")
        return self.fill(values)

    def fill(self, values: Mapping[str, Any]) -> str:
        """Returns the key with those of `values` that the template names."""
        if not self.names:
            return self._pieces[0][0]
        parts = []
        for literal, name in self._pieces:
            parts.append(literal)
            if name:
                if name not in values:
                    raise UsageError(f"template {self.text!r} needs a value for {name}")
                parts.append(escape(name, values[name]))
        return "".join(parts)


def escape(name: str, value: Any) -> str:
    """Returns `value` as a part of a key, so that no value can make another key."""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if not isinstance(value, str):
        raise UsageError(
            f"{name} must be a str, int or bool to be a part of a key, was {type(value).__name__};"
            " convert it, for example by str()"
        )
    text = str.__str__(value)
    if not text:
        raise UsageError(f"{name} must not be empty to be a part of a key")
    if not text.isascii():
        check_unicode(name, text)
    return _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text)


def check_unicode(name: str, text: str) -> None:
    """Raises `UsageError` if `text` has no UTF-8, as with a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{name} must be text with a UTF-8 encoding, was {text!r}") from None


def _check_numbers(value: Any) -> None:
    """Raises an error for integers of type float that could stand for others.

    Those from 1e21 on are written with an exponent.
    """
    if isinstance(value, float):
        if value.is_integer() and LARGEST < abs(value) < 1e21:
            raise rfc8785.FloatDomainError(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _check_numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_numbers(item)


def argument_key(prefix: str, arguments: Any) -> str:
    """Returns `prefix:` and a hash of the canonical JSON (RFC 8785) of `arguments`.

    The key is the same in the client libraries of all languages.
    """
    if not prefix:
        raise UsageError("the prefix of a key must not be empty")
    try:
        _check_numbers(arguments)
        canonical = rfc8785.dumps(arguments)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise UsageError(
            f"arguments of {prefix!r} must be JSON to be hashed into a key: {error}"
        ) from None
    return f"{prefix}:{hashlib.sha256(canonical).hexdigest()[:32]}"
