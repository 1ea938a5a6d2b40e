"""The client for asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self, Unpack

from twintier._asyncio import AsyncIo
from twintier._connection import Connection
from twintier._core import Core
from twintier._decorators import AsyncCacheDecorators
from twintier._duration import Duration, seconds
from twintier._lookup import Lookup
from twintier._operations import (
    Operations,
    SessionBase,
    absent_options,
    documented_by,
    encoded,
    key_list,
    outcome,
    requests,
    selection,
    touch_options,
)
from twintier._options import (
    AbsentOptions,
    CallOptions,
    LoadOptions,
    ReadOptions,
    WriteOptions,
    text,
)
from twintier._settings import ClientOptions, settings
from twintier._sync import Cache, SyncOperations

T = TypeVar("T")


class AsyncOperations(Operations):
    """Reads and writes of an `AsyncCache`, and of its sessions."""

    @documented_by(SyncOperations.get)
    async def get(self, key: str, default: Any = None, **options: Unpack[ReadOptions]) -> Any:
        return outcome(await self.lookup(key, **options), default)

    @documented_by(SyncOperations.lookup)
    async def lookup(self, key: str, **options: Unpack[ReadOptions]) -> Lookup:
        resolved = self._options(options)
        near = self._near(key, resolved)
        return near or await self._core.get(text("key", key), resolved, self._tokens)

    @documented_by(SyncOperations.get_many)
    async def get_many(self, keys: Iterable[str], **options: Unpack[ReadOptions]) -> dict[str, Any]:
        found = await self._core.get_many(key_list(keys), self._options(options), self._tokens)
        return {key: lookup.value for key, lookup in found.items() if lookup.found}

    @documented_by(SyncOperations.set)
    async def set(self, key: str, value: Any, **options: Unpack[WriteOptions]) -> bool:
        data = self._core.encode(text("key", key), value)
        return await self._core.set(key, data, self._options(options), self._tokens)

    @documented_by(SyncOperations.set_many)
    async def set_many(
        self, values: Mapping[str, Any], **options: Unpack[WriteOptions]
    ) -> requests.KeySet:
        data = encoded(self._core, values)
        return await self._core.set_many(data, self._options(options), self._tokens)

    @documented_by(SyncOperations.set_absent)
    async def set_absent(self, key: str, **options: Unpack[AbsentOptions]) -> bool:
        resolved = absent_options(self._options(options))
        return await self._core.set(text("key", key), requests.ABSENT, resolved, self._tokens)

    @documented_by(SyncOperations.touch)
    async def touch(self, key: str, ttl: Duration, **options: Unpack[CallOptions]) -> bool:
        resolved = touch_options(self._core.defaults, ttl, options)
        return await self._core.touch(text("key", key), resolved, self._tokens)

    @documented_by(SyncOperations.invalidate)
    async def invalidate(
        self,
        keys: str | Iterable[str] | None = None,
        *,
        tags: str | Iterable[str] | None = None,
        prefix: str | None = None,
        pattern: str | None = None,
        all: bool = False,
        source_version: int | None = None,
        **options: Unpack[CallOptions],
    ) -> bool:
        selected = selection(keys, tags, prefix, pattern, all)
        resolved = self._options({**options, "source_version": source_version})
        return await self._core.invalidate(selected, resolved, self._tokens) is not None

    @documented_by(SyncOperations.get_or_set)
    async def get_or_set(
        self, key: str, loader: Callable[[], Awaitable[T] | T], **options: Unpack[LoadOptions]
    ) -> T | Any:
        resolved = self._options(options)
        lookup = self._near(key, resolved)
        if lookup is None:
            lookup = await self._load(key, loader, resolved).result()
        return lookup.value


class AsyncSession(AsyncOperations, SessionBase):
    """A session of an `AsyncCache`; see `Session`."""

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._exit()


class AsyncCache(AsyncOperations, AsyncCacheDecorators):
    """A client of the cache for asyncio; see `Cache`.

    Its connection belongs to an event loop. In another one it connects again.
    """

    def __init__(
        self, addresses: str | Sequence[str] = "localhost:50051", **options: Unpack[ClientOptions]
    ) -> None:
        resolved = settings(addresses, options)
        connection = Connection(resolved)
        super().__init__(Core(resolved, connection, AsyncIo(connection)), None)

    @documented_by(Cache.session)
    def session(self, text: str = "") -> AsyncSession:
        return AsyncSession(self._core, text)

    @documented_by(Cache.close)
    async def close(self, drain: Duration = 5.0) -> bool:
        return await self._core.close(seconds("drain", drain))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
