"""The blocking client."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self, Unpack

from twintier._blocking import BlockingIo, complete
from twintier._connection import Connection
from twintier._core import Core
from twintier._decorators import CacheDecorators
from twintier._duration import Duration, seconds
from twintier._lookup import Lookup
from twintier._operations import (
    Operations,
    SessionBase,
    absent_options,
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

T = TypeVar("T")
DRAIN_AT_EXIT = 2.0


class SyncOperations(Operations):
    """Reads and writes of a `Cache`, and of its sessions."""

    def get(self, key: str, default: Any = None, **options: Unpack[ReadOptions]) -> Any:
        """Returns the value of `key`.

        Returns `default` if there is none, and `None` for a negative entry.
        """
        resolved = self._options(options)
        lookup = self._near(key, resolved)
        if lookup is None:
            work = self._core.get(text("key", key), resolved, self._tokens)
            lookup = complete(work)
        return outcome(lookup, default)

    def lookup(self, key: str, **options: Unpack[ReadOptions]) -> Lookup:
        """Returns all that is known of `key`: its value, and whether it is absent or stale."""
        resolved = self._options(options)
        near = self._near(key, resolved)
        return near or complete(self._core.get(text("key", key), resolved, self._tokens))

    def get_many(self, keys: Iterable[str], **options: Unpack[ReadOptions]) -> dict[str, Any]:
        """Returns the values of those `keys` that were found."""
        found = complete(self._core.get_many(key_list(keys), self._options(options), self._tokens))
        return {key: lookup.value for key, lookup in found.items() if lookup.found}

    def set(self, key: str, value: Any, **options: Unpack[WriteOptions]) -> bool:
        """Stores `value`. Returns True if it was stored."""
        data = self._core.encode(text("key", key), value)
        return complete(self._core.set(key, data, self._options(options), self._tokens))

    def set_many(
        self, values: Mapping[str, Any], **options: Unpack[WriteOptions]
    ) -> requests.KeySet:
        """Stores many values. Returns the keys of those that were stored."""
        data = encoded(self._core, values)
        return complete(self._core.set_many(data, self._options(options), self._tokens))

    def set_absent(self, key: str, **options: Unpack[AbsentOptions]) -> bool:
        """Stores that the thing does not exist. Returns True if that was stored."""
        resolved = absent_options(self._options(options))
        work = self._core.set(text("key", key), requests.ABSENT, resolved, self._tokens)
        return complete(work)

    def touch(self, key: str, ttl: Duration, **options: Unpack[CallOptions]) -> bool:
        """Changes the time to live of an entry. Returns True if there is one."""
        resolved = touch_options(self._core.defaults, ttl, options)
        return complete(self._core.touch(text("key", key), resolved, self._tokens))

    def invalidate(
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
        """Removes entries by one of the selectors. Returns True if that was done.

        - `keys`: one key or many
        - `tags`: entries with one of these tags
        - `prefix`: `user:42` covers `user:42` and `user:42:name`, but not `user:421`
        - `pattern`: `*` matches any characters, `?` matches one
        - `all`: the whole namespace
        """
        selected = selection(keys, tags, prefix, pattern, all)
        resolved = self._options({**options, "source_version": source_version})
        return complete(self._core.invalidate(selected, resolved, self._tokens)) is not None

    def get_or_set(
        self, key: str, loader: Callable[[], T], **options: Unpack[LoadOptions]
    ) -> T | Any:
        """Returns the value of `key`, or runs `loader` and stores what it returns.

        One caller of the whole fleet runs its loader, all others wait for its value. A loader
        that returns `None` stores a negative entry. An error of the loader is raised unchanged.
        """
        resolved = self._options(options)
        lookup = self._near(key, resolved)
        if lookup is None:
            lookup = complete(self._load(key, loader, resolved).result())
        return lookup.value


class Session(SyncOperations, SessionBase):
    """Reads that see the session's own writes, and never go back, through any replica.

    Inside of `with`, the operations of the client are in the session, too.
    """

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(self, *error: object) -> None:
        self._exit()


class Cache(SyncOperations, CacheDecorators):
    """A client of the cache for threads. It connects with the first call.

    `addresses` is one address, such as `dns:///twintier-headless:50051`, or a list of IP
    addresses with ports.
    """

    def __init__(
        self, addresses: str | Sequence[str] = "localhost:50051", **options: Unpack[ClientOptions]
    ) -> None:
        resolved = settings(addresses, options)
        connection = Connection(resolved)
        super().__init__(Core(resolved, connection, BlockingIo(connection)), None)
        # Background writes are not lost when the program ends without a close.
        self._at_exit = _at_exit(weakref.ref(self))
        atexit.register(self._at_exit)

    def session(self, text: str = "") -> Session:
        """Returns a new session, or the one that `text` of another service describes."""
        return Session(self._core, text)

    def close(self, drain: Duration = 5.0) -> bool:
        """Carries out queued writes within `drain`, and closes the connection.

        Returns False if writes were lost. Later calls are misses.
        """
        atexit.unregister(self._at_exit)
        return complete(self._core.close(seconds("drain", drain)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _at_exit(cache: weakref.ref[Cache]) -> Callable[[], None]:
    def close() -> None:
        target = cache()
        if target is not None:
            target.close(DRAIN_AT_EXIT)

    return close
