"""An independent implementation of keys and of canonical JSON, from which the vectors are checked."""

import hashlib
import json
import re
from typing import Any

MAX_SAFE_INTEGER = 2**53 - 1


class UsageError(Exception):
    """An error of kind `usage`."""


def key(template: str, values: dict[str, Any]) -> str:
    """Fills a template."""
    used = set()

    def part(match: re.Match[str]) -> str:
        text = match[0]
        if text in ("{{", "}}"):
            return text[0]
        if not match[1]:
            raise UsageError(f"brace in {template!r}")
        used.add(match[1])
        return escape(values.get(match[1]))

    if not template:
        raise UsageError("empty template")
    filled = re.sub(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]", part, template)
    if set(values) != used:
        raise UsageError(f"names {set(values) ^ used}")
    return filled


def escape(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or value == "":
        raise UsageError(f"value {value!r}")
    return "".join(c if ord(c) > 0x7F or re.match(r"[A-Za-z0-9._~-]", c) else f"%{ord(c):02X}" for c in value)


def argument_key(prefix: str, arguments: Any) -> str:
    if not prefix:
        raise UsageError("empty prefix")
    return f"{prefix}:{hashlib.sha256(canonical(arguments).encode()).hexdigest()[:32]}"


def canonical(value: Any) -> str:
    """Writes JSON by RFC 8785."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value)
    return json.dumps(value, ensure_ascii=False)


def number(value: float) -> str:
    """Writes a number as ECMAScript does."""
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        raise UsageError(f"integer {value}")
    value = float(value)
    if value == 0:
        return "0"
    if value.is_integer() and MAX_SAFE_INTEGER < abs(value) < 1e21:
        raise UsageError(f"integer {value}")
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS times ten to the power of `point`.
    point = len(whole + fraction) - len(fraction) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"
