"""Options of calls: as callers give them, and resolved to the values of requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from typing_extensions import TypedDict

from twintier._duration import Duration, seconds
from twintier._errors import UsageError
from twintier._keys import check_unicode
from twintier.v1 import values_pb2

ConsistencyName: TypeAlias = Literal["bounded", "strong", "eventual"]

EVENTUAL = 86400.0
"""The staleness that `consistency="eventual"` accepts, in seconds."""
LEASE_WAIT = 10.0
"""The wait for a lease of a call without `lease_duration`, in seconds."""


class CallOptions(TypedDict, total=False):
    """Options of every call."""

    namespace: str
    """The namespace, instead of that of the client."""
    strict: bool
    """True: a failed call raises a `ServiceError`. False: it is a miss, or a write not stored."""
    timeout: Duration
    """The deadline of each call of the service, a wait for a lease excepted."""


class ReadOptions(CallOptions, total=False):
    """Options of reads."""

    consistency: ConsistencyName
    """`bounded`, `strong` (reads Redis) or `eventual` (accepts stale values)."""
    max_staleness: Duration
    """How far out of date the answer may be."""
    stale_if_error: bool
    """True: accept a stale value if the entry cannot be loaded."""


class WriteOptions(CallOptions, total=False):
    """Options of writes."""

    ttl: Duration
    """Time to live. The namespace has a default."""
    soft_ttl: Duration
    """Time after which the entry is refreshed in the background; it is as fresh as before."""
    tags: str | Iterable[str]
    """Tags by which the entry can be invalidated."""
    source_version: int
    """Version of the source, such as a row's: an older one never replaces a newer one."""
    jitter: float
    """The largest random share, 0 to 0.5, by which the time to live is shortened."""


class AbsentOptions(WriteOptions, total=False):
    """Options of negative entries."""

    negative_ttl: Duration
    """Time to live of "absent". The namespace has a default."""


class LoadOptions(ReadOptions, AbsentOptions, total=False):
    """Options of `get_or_set`."""

    lease_duration: Duration
    """The time in which the loader surely ends; the namespace has a default."""
    lease_wait: Duration
    """The longest wait for another caller's load: `lease_duration` or 10 s unless set."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one call, resolved: durations are in seconds."""

    namespace: str = ""
    strict: bool = False
    timeout: float = 0.25
    consistency: values_pb2.Consistency = values_pb2.CONSISTENCY_UNSPECIFIED
    max_staleness: float | None = None
    stale_if_error: bool = False
    ttl: float | None = None
    soft_ttl: float | None = None
    tags: tuple[str, ...] = ()
    source_version: int | None = None
    jitter: float | None = None
    negative_ttl: float | None = None
    lease_duration: float | None = None
    lease_wait: float | None = None
    no_expiry: bool = False
    """True: the entry lives until it is removed or evicted. For the backend of Django."""

    @property
    def wait(self) -> float:
        """The longest wait for a lease, in seconds."""
        if self.lease_wait is not None:
            return self.lease_wait
        return LEASE_WAIT if self.lease_duration is None else self.lease_duration

    @property
    def strong(self) -> bool:
        """True if the call reads Redis."""
        return self.consistency == values_pb2.CONSISTENCY_STRONG


def resolve(base: Options, given: Mapping[str, Any]) -> Options:
    """Returns `base` with the options that the caller gave, checked."""
    if not given:
        return base
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _CHECKS:
            raise UsageError(f"{name} is not an option; options are {', '.join(_CHECKS)}")
        if value is not None:
            values[name] = _CHECKS[name](name, value)
    _expand_consistency(values)
    return replace(base, **values)


def _expand_consistency(values: dict[str, Any]) -> None:
    consistency = values.get("consistency")
    if consistency is None:
        return
    if consistency == "eventual":
        values.setdefault("max_staleness", EVENTUAL)
    strong = consistency == "strong"
    if strong and "max_staleness" in values:
        raise UsageError("max_staleness is not allowed with consistency 'strong'")
    values["consistency"] = (
        values_pb2.CONSISTENCY_STRONG if strong else values_pb2.CONSISTENCY_BOUNDED
    )


def text(name: str, value: Any) -> str:
    """Returns `value`, which must be text."""
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a str, was {value!r}")
    check_unicode(name, value)
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Returns one or many texts as a tuple."""
    return (text(name, value),) if isinstance(value, str) else tuple(text(name, v) for v in value)


def flag(name: str, value: Any) -> bool:
    """Returns `value`, which must be True or False."""
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be True or False, was {value!r}")
    return value


def _consistency(name: str, value: Any) -> str:
    if value not in ("bounded", "strong", "eventual"):
        raise UsageError(f"{name} must be bounded, strong or eventual, was {value!r}")
    return str(value)


def _source_version(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise UsageError(f"{name} must be an int from 0 to 2^64 - 1, was {value!r}")
    return value


def _jitter(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 0.5:
        raise UsageError(f"{name} must be from 0 to 0.5, was {value!r}")
    return float(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "namespace": text,
    "strict": flag,
    "timeout": seconds,
    "consistency": _consistency,
    "max_staleness": seconds,
    "stale_if_error": flag,
    "ttl": seconds,
    "soft_ttl": seconds,
    "tags": texts,
    "source_version": _source_version,
    "jitter": _jitter,
    "negative_ttl": seconds,
    "lease_duration": seconds,
    "lease_wait": seconds,
}
