"""Results of reads."""

from __future__ import annotations

from typing import Any, NamedTuple

from twintier._duration import from_wire


class Lookup(NamedTuple):
    """The result of `lookup`."""

    found: bool
    """True if there is a value."""
    value: Any = None
    """The value, or `None`."""
    absent: bool = False
    """True for a negative entry: the thing is known not to exist."""
    stale: bool = False
    """True if the value is past its end, or not proven to be fresh."""
    version: str = ""
    """The version of the entry; empty if the near cache answered."""
    ttl: float | None = None
    """Remaining seconds of the entry, or `None` if it has no end or the near cache answered."""


MISS = Lookup(False)
NEGATIVE = Lookup(False, absent=True)


def of_entry(value: Any, entry: Any) -> Lookup:
    """Returns the result for a value with the service's facts about it."""
    return Lookup(
        True,
        value,
        stale=entry.HasField("stale"),
        version=entry.version,
        ttl=from_wire(entry.ttl) if entry.HasField("ttl") else None,
    )
