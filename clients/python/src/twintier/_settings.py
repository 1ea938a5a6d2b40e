"""Settings of a client, checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from typing_extensions import TypedDict

from twintier._duration import Duration, seconds
from twintier._errors import UsageError
from twintier._observer import Hooks
from twintier._options import Options, flag, resolve, text
from twintier._serializers import Serializer, serializer

Metadata: TypeAlias = "Iterable[tuple[str, str]]"


@dataclass(frozen=True)
class NearCache:
    """A cache in the client's own memory, which the service's changes keep fresh."""

    max_bytes: int = 64 * 1024 * 1024
    """The largest size of all keys and values; those unused for longest are evicted."""
    max_staleness: Duration = 2.0
    """How far out of date an answer may be: it is not used when that is not proven."""

    def __post_init__(self) -> None:
        if isinstance(self.max_bytes, bool) or not isinstance(self.max_bytes, int):
            raise UsageError(f"near_cache.max_bytes must be an int, was {self.max_bytes!r}")
        if self.max_bytes <= 0:
            raise UsageError(f"near_cache.max_bytes must be more than 0, was {self.max_bytes}")
        if self.staleness <= 0:
            raise UsageError("near_cache.max_staleness must be more than 0s")

    @property
    def staleness(self) -> float:
        """`max_staleness` in seconds."""
        return seconds("near_cache.max_staleness", self.max_staleness)


class ClientOptions(TypedDict, total=False):
    """Options of `Cache` and `AsyncCache`."""

    namespace: str
    """The namespace of calls that name none; `default` unless set."""
    timeout: Duration
    """The deadline of a call, 250 ms unless set. A wait for a lease is excepted."""
    lease_wait: Duration
    """The longest wait for another caller's load, unless a call says otherwise."""
    strict: bool
    """True: failed calls raise errors. False, the default: they are misses."""
    serializer: str | Serializer
    """`json` (the default), `msgpack`, `bytes` or an own one."""
    near_cache: NearCache | None
    """A cache in the client's memory; none unless set."""
    later_queue: int
    """The capacity of the queue of background writes: 1000 unless set."""
    tls: bool
    """True: TLS with the system's certificates. The files below turn it on, too."""
    ca_file: str | None
    """A PEM file with the authorities that the service's certificate is checked against."""
    cert_file: str | None
    """A PEM file with the client's own certificate (mutual TLS)."""
    key_file: str | None
    """A PEM file with the key of `cert_file`."""
    server_name: str | None
    """The name that the service's certificate is checked for, if not that of the address."""
    token_file: str | None
    """A file with a bearer token, which is read anew when it changes."""
    hooks: Hooks | Sequence[Hooks]
    """Callbacks that receive hits, misses, loads, failures and times."""
    metadata: Callable[[], Metadata]
    """Returns metadata for each call, such as a trace context of an own kind."""


@dataclass(frozen=True)
class Settings:
    """Settings of a client, with defaults."""

    addresses: tuple[str, ...]
    defaults: Options
    serializer: Serializer
    near_cache: NearCache | None = None
    later_queue: int = 1000
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    token_file: str | None = None
    hooks: tuple[Hooks, ...] = ()
    metadata: Callable[[], Metadata] | None = None


_CALL_DEFAULTS = ("namespace", "strict", "timeout", "lease_wait")


def settings(addresses: str | Sequence[str], options: ClientOptions) -> Settings:
    """Returns the settings of a client for `addresses` with `options`."""
    given: dict[str, Any] = dict(options)
    known = [*_CALL_DEFAULTS, *(f.name for f in fields(Settings)[2:])]
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise UsageError(f"{unknown[0]} is not an option of a client; options are {known}")
    call = {name: given.pop(name) for name in _CALL_DEFAULTS if name in given}
    result = Settings(
        addresses=_addresses(addresses),
        defaults=resolve(Options(), call),
        serializer=serializer(given.pop("serializer", "json")),
        hooks=_hooks(given.pop("hooks", ())),
        **given,
    )
    _check(result)
    return result


def _addresses(addresses: str | Sequence[str]) -> tuple[str, ...]:
    result = (addresses,) if isinstance(addresses, str) else tuple(addresses)
    if not result or not all(isinstance(address, str) and address for address in result):
        raise UsageError(f"addresses must be one or more texts, was {addresses!r}")
    return result


def _hooks(hooks: Hooks | Sequence[Hooks]) -> tuple[Hooks, ...]:
    return (hooks,) if isinstance(hooks, Hooks) else tuple(hooks)


def _check(value: Settings) -> None:
    queue = value.later_queue
    if isinstance(queue, bool) or not isinstance(queue, int) or queue < 1:
        raise UsageError(f"later_queue must be an int of at least 1, was {queue!r}")
    if (value.cert_file is None) != (value.key_file is None):
        raise UsageError("cert_file and key_file must be given together")
    flag("tls", value.tls)
    for name in ("ca_file", "cert_file", "key_file", "server_name", "token_file"):
        if getattr(value, name) is not None:
            text(name, str(getattr(value, name)))
    if value.near_cache is not None and not isinstance(value.near_cache, NearCache):
        raise UsageError(f"near_cache must be a NearCache, was {value.near_cache!r}")
