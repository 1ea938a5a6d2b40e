"""Durations: `timedelta`, seconds, or text as in the service's configuration."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration as WireDuration

from twintier._errors import UsageError

Duration: TypeAlias = timedelta | float | int | str
"""A duration: `timedelta(minutes=5)`, `300` (seconds) or `"5m"`."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+)(ns|us|ms|s|m|h|d)")
_TEXT = re.compile(rf"(?:{_PART.pattern})+")
_LONGEST = 315_576_000_000.0
"""The longest duration of a message, in seconds. The service has limits of its own."""


def seconds(name: str, value: Duration) -> float:
    """Returns the seconds of the duration `value`, which the error calls `name`."""
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        result = _parsed(name, value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        result = float(value)
    else:
        raise UsageError(f"{name} must be a timedelta, seconds or text such as '5m', was {value!r}")
    if not 0 <= result <= _LONGEST:
        raise UsageError(f"{name} must be from 0 to {_LONGEST:.0f} seconds, was {value!r}")
    return result


@lru_cache(maxsize=256)
def _parsed(name: str, text: str) -> float:
    if not _TEXT.fullmatch(text):
        raise UsageError(f"{name} must be a duration such as 250ms, 2s, 5m or 1h30m, was {text!r}")
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def wire(duration: float | None) -> WireDuration | None:
    """Returns the duration in seconds as a message, or `None` for `None`."""
    if duration is None:
        return None
    whole, nanos = divmod(round(duration * 1e9), 1_000_000_000)
    return WireDuration(seconds=whole, nanos=nanos)


def from_wire(duration: WireDuration) -> float:
    """Returns the seconds of a message."""
    return duration.seconds + duration.nanos / 1e9
