"""Decorated functions."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from typing_extensions import Self

from twintier._arguments import Plan
from twintier._blocking import complete
from twintier._loading import Load, refresh
from twintier._operations import Operations
from twintier._selection import Selection

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class Decorated(Generic[P]):
    """The common part of decorated functions: keys, and binding to instances."""

    def __init__(
        self,
        function: Callable[..., Any],
        plan: Plan,
        operations: Operations,
        receiver: tuple[Any, ...] = (),
    ) -> None:
        self._function = function
        self._plan = plan
        self._operations = operations
        self._receiver = receiver
        if not receiver:
            functools.update_wrapper(cast(Any, self), function)

    def _bound(self, instance: object) -> Self:
        return type(self)(self._function, self._plan, self._operations, (instance,))

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Returns the key of a call with these arguments."""
        return self._plan.resolve((*self._receiver, *args), kwargs)[0]

    def _load(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Load:
        args = (*self._receiver, *args)
        key, options = self._plan.resolve(args, kwargs)
        function = self._function
        return self._operations._load(key, lambda: function(*args, **kwargs), options)

    def _invalidation(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, int | None]:
        key, options = self._plan.resolve((*self._receiver, *args), kwargs)
        operations = self._operations
        return operations._core.invalidate(Selection(keys=(key,)), options, operations._tokens)


class Cached(Decorated[P], Generic[P, R]):
    """A function whose results are cached."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Returns the cached result, or calls the function."""
        load = self._load(args, kwargs)
        lookup = load.core.near(load.key, load.options, load.tokens)
        return cast(R, (lookup or complete(load.result())).value)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function and stores its result, whatever is cached."""
        return cast(R, complete(refresh(self._load(args, kwargs))).value)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Removes the result for these arguments. Returns True if that was done."""
        return complete(self._invalidation(args, kwargs)) is not None

    def uncached(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function without the cache."""
        return cast(R, self._function(*self._receiver, *args, **kwargs))

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(
        self: Cached[Concatenate[S, Q], R], instance: object, owner: Any
    ) -> Cached[Q, R]: ...
    def __get__(self, instance: object, owner: Any) -> Any:
        """Returns the method of an instance."""
        return self if instance is None else self._bound(instance)


class AsyncCached(Decorated[P], Generic[P, R]):
    """A coroutine function whose results are cached."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Returns the cached result, or calls the function."""
        load = self._load(args, kwargs)
        lookup = load.core.near(load.key, load.options, load.tokens)
        return cast(R, (lookup or await load.result()).value)

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function and stores its result, whatever is cached."""
        return cast(R, (await refresh(self._load(args, kwargs))).value)

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Removes the result for these arguments. Returns True if that was done."""
        return await self._invalidation(args, kwargs) is not None

    async def uncached(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function without the cache."""
        function = cast(Callable[..., Awaitable[R]], self._function)
        return await function(*self._receiver, *args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(
        self: AsyncCached[Concatenate[S, Q], R], instance: object, owner: Any
    ) -> AsyncCached[Q, R]: ...
    def __get__(self, instance: object, owner: Any) -> Any:
        """Returns the method of an instance."""
        return self if instance is None else self._bound(instance)
