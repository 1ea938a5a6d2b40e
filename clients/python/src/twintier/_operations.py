"""Parts that the blocking and the asyncio operations share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType
from typing import Any, TypeVar

from twintier import _requests as requests
from twintier._core import Core
from twintier._duration import Duration
from twintier._errors import UsageError
from twintier._io import Loader
from twintier._loading import Load
from twintier._lookup import Lookup
from twintier._observer import Counters
from twintier._options import Options, resolve, text
from twintier._selection import selection
from twintier._tokens import Tokens

F = TypeVar("F", bound=Callable[..., Any])
Active = Mapping[Core, Tokens]

_active: ContextVar[Active] = ContextVar("twintier-session", default=MappingProxyType({}))


class Operations:
    """Resolves the arguments of operations."""

    def __init__(self, core: Core, tokens: Tokens | None) -> None:
        self._core = core
        self._own_tokens = tokens

    @property
    def _tokens(self) -> Tokens | None:
        """The tokens of this session, or of the session that the context is in."""
        return self._own_tokens or _active.get().get(self._core)

    @property
    def counters(self) -> Counters:
        """The counts of the client until now."""
        return self._core.observer.counters()

    def _options(self, given: Mapping[str, Any]) -> Options:
        return resolve(self._core.defaults, given) if given else self._core.defaults

    def _near(self, key: str, options: Options) -> Lookup | None:
        return self._core.near(key, options, self._tokens)

    def _load(self, key: str, loader: Loader, options: Options) -> Load:
        if not callable(loader):
            raise UsageError(f"loader must be callable, was {loader!r}")
        return Load(self._core, text("key", key), loader, options, self._tokens)

    def set_later(self, key: str, value: Any, **given: Any) -> bool:
        """Queues `set`. Returns False if the client is closed.

        If the queue is full, its oldest write is dropped, which `counters` counts.
        """
        core, tokens, options = self._core, self._tokens, self._options(given)
        data = core.encode(text("key", key), value)
        return core.later(lambda: core.set(key, data, options, tokens))

    def invalidate_later(
        self,
        keys: str | Iterable[str] | None = None,
        *,
        tags: str | Iterable[str] | None = None,
        prefix: str | None = None,
        pattern: str | None = None,
        all: bool = False,
        **given: Any,
    ) -> bool:
        """Queues `invalidate`. Returns False if the client is closed."""
        core, tokens, options = self._core, self._tokens, self._options(given)
        selected = selection(keys, tags, prefix, pattern, all)

        async def write() -> bool:
            return await core.invalidate(selected, options, tokens) is not None

        return core.later(write)


class SessionBase(Operations):
    """The context manager of sessions."""

    def __init__(self, core: Core, text: str) -> None:
        super().__init__(core, Tokens(core.io, text))
        self._entered: list[Token[Active]] = []

    @property
    def text(self) -> str:
        """The session as text, for another service."""
        return self._session_tokens.text()

    @property
    def _session_tokens(self) -> Tokens:
        assert self._own_tokens is not None
        return self._own_tokens

    def _enter(self) -> None:
        active = {**_active.get(), self._core: self._session_tokens}
        self._entered.append(_active.set(active))

    def _exit(self) -> None:
        _active.reset(self._entered.pop())


def outcome(lookup: Lookup, default: Any) -> Any:
    """Returns the result of `get`: the value, `None` if absent, `default` if not found."""
    return lookup.value if lookup.found or lookup.absent else default


def encoded(core: Core, values: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the values as bytes."""
    return {text("key", key): core.encode(key, value) for key, value in values.items()}


def key_list(keys: Iterable[str]) -> tuple[str, ...]:
    """Returns the keys, each of which must be text."""
    if isinstance(keys, str):
        raise UsageError(f"keys must be a list of keys, was the text {keys!r}")
    return tuple(text("key", key) for key in keys)


def touch_options(base: Options, ttl: Duration | None, given: Mapping[str, Any]) -> Options:
    """Returns the options of `touch`."""
    return resolve(base, {**given, "ttl": ttl})


def absent_options(options: Options) -> Options:
    """Returns the options of `set_absent`, where `ttl` stands for `negative_ttl`, too."""
    if options.negative_ttl is not None or options.ttl is None:
        return options
    return resolve(options, {"negative_ttl": options.ttl})


def documented_by(source: Callable[..., Any]) -> Callable[[F], F]:
    """Returns a decorator that copies the documentation of `source`."""

    def decorate(function: F) -> F:
        function.__doc__ = source.__doc__
        return function

    return decorate


__all__ = [
    "Operations",
    "SessionBase",
    "absent_options",
    "documented_by",
    "encoded",
    "key_list",
    "outcome",
    "requests",
    "selection",
    "touch_options",
]
