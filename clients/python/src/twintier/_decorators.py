"""The decorators `cached` and `invalidates`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from typing_extensions import Unpack

from twintier._arguments import Arguments, KeyFunction, fill, plan
from twintier._blocking import complete
from twintier._cached import AsyncCached, Cached
from twintier._errors import UsageError
from twintier._keys import Template
from twintier._operations import Operations, documented_by
from twintier._options import CallOptions, LoadOptions, texts
from twintier._selection import Selection, selection

P = ParamSpec("P")
R = TypeVar("R")
Async = Callable[P, Awaitable[R]]


class CacheDecorators(Operations):
    """The decorators of a `Cache`."""

    def cached(
        self,
        *,
        key: str | KeyFunction | None = None,
        ignore: str | Iterable[str] = (),
        **options: Unpack[LoadOptions],
    ) -> Callable[[Callable[P, R]], Cached[P, R]]:
        """Returns a decorator that caches what a function returns.

        `key` is a template whose names are parameters, such as `user:{user_id}`, or a function
        that returns a key. Without it the key is a hash of all arguments but those that `ignore`
        names, and but `self` and `cls`. `tags` are templates, too. `None` is cached as "absent".
        """
        resolved = self._options(options)

        def decorate(function: Callable[P, R]) -> Cached[P, R]:
            _expect(function, is_async=False)
            return Cached(function, plan(function, key, ignore, resolved), self)

        return decorate

    def invalidates(
        self,
        keys: str | Iterable[str] | None = None,
        *,
        tags: str | Iterable[str] | None = None,
        prefix: str | None = None,
        pattern: str | None = None,
        all: bool = False,
        **options: Unpack[CallOptions],
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Returns a decorator that invalidates entries after a function has returned.

        All selectors are templates of the function's arguments; several may be given. After an
        error of the function nothing is invalidated.
        """
        resolved = self._options(options)

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            _expect(function, is_async=False)
            targets = _targets(function, keys, tags, prefix, pattern, all)

            @functools.wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> R:
                result = function(*args, **kwargs)
                for selected in targets.selections(args, kwargs):
                    complete(self._core.invalidate(selected, resolved, self._tokens))
                return result

            return call

        return decorate


class AsyncCacheDecorators(Operations):
    """The decorators of an `AsyncCache`."""

    @documented_by(CacheDecorators.cached)
    def cached(
        self,
        *,
        key: str | KeyFunction | None = None,
        ignore: str | Iterable[str] = (),
        **options: Unpack[LoadOptions],
    ) -> Callable[[Async[P, R]], AsyncCached[P, R]]:
        resolved = self._options(options)

        def decorate(function: Async[P, R]) -> AsyncCached[P, R]:
            _expect(function, is_async=True)
            return AsyncCached(function, plan(function, key, ignore, resolved), self)

        return decorate

    @documented_by(CacheDecorators.invalidates)
    def invalidates(
        self,
        keys: str | Iterable[str] | None = None,
        *,
        tags: str | Iterable[str] | None = None,
        prefix: str | None = None,
        pattern: str | None = None,
        all: bool = False,
        **options: Unpack[CallOptions],
    ) -> Callable[[Async[P, R]], Async[P, R]]:
        resolved = self._options(options)

        def decorate(function: Async[P, R]) -> Async[P, R]:
            _expect(function, is_async=True)
            targets = _targets(function, keys, tags, prefix, pattern, all)

            @functools.wraps(function)
            async def call(*args: P.args, **kwargs: P.kwargs) -> R:
                result = await function(*args, **kwargs)
                for selected in targets.selections(args, kwargs):
                    await self._core.invalidate(selected, resolved, self._tokens)
                return result

            return call

        return decorate


def _expect(function: Callable[..., Any], *, is_async: bool) -> None:
    if isinstance(function, staticmethod | classmethod):
        raise UsageError("place the decorator below @staticmethod or @classmethod")
    if not callable(function):
        raise UsageError(f"only functions can be decorated, was {function!r}")
    if inspect.iscoroutinefunction(function) != is_async:
        kind, other = ("AsyncCache", "Cache") if is_async else ("Cache", "AsyncCache")
        wanted = "coroutine functions" if is_async else "functions that are not coroutines"
        raise UsageError(f"{kind} decorates {wanted}; for {function!r} use {other}")


@dataclass(frozen=True)
class _Targets:
    """Templates of the entries that a function invalidates."""

    arguments: Arguments
    templates: dict[str, tuple[Template, ...]]
    everything: bool

    def selections(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Selection]:
        if self.everything:
            return [selection(everything=True)]
        values = self.arguments.bind(args, kwargs)
        filled = {
            name: tuple(fill(template, values) for template in templates)
            for name, templates in self.templates.items()
        }
        return [
            *(selection(key) for key in [filled.get("keys")] if key),
            *(selection(tags=tags) for tags in [filled.get("tags")] if tags),
            *(selection(prefix=prefix) for prefix in filled.get("prefix", ())),
            *(selection(pattern=pattern) for pattern in filled.get("pattern", ())),
        ]


def _targets(
    function: Callable[..., Any],
    keys: str | Iterable[str] | None,
    tags: str | Iterable[str] | None,
    prefix: str | None,
    pattern: str | None,
    everything: bool,
) -> _Targets:
    arguments = Arguments(function)
    given = {"keys": keys, "tags": tags, "prefix": prefix, "pattern": pattern}
    templates = {
        name: tuple(arguments.template(name, one) for one in texts(name, value))
        for name, value in given.items()
        if value is not None
    }
    if not templates and not everything:
        raise UsageError("one of keys, tags, prefix, pattern or all must be given, was none")
    return _Targets(arguments, templates, everything)
