"""The operations of a client, written once for `Cache` and `AsyncCache`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from enum import Enum, auto
from typing import Any

from twintier import _requests as requests
from twintier._connection import Connection
from twintier._duration import wire
from twintier._errors import RejectedError, ServiceError, item_error
from twintier._io import Io
from twintier._later import Later, Write
from twintier._lookup import Lookup
from twintier._near import Near
from twintier._observer import Observer
from twintier._options import Options
from twintier._reader import NearReader, Reader
from twintier._selection import Selection
from twintier._serializers import encode
from twintier._settings import Settings
from twintier._tokens import Tokens
from twintier._transport import Transport
from twintier._watch import Watcher
from twintier.v1 import cache_pb2 as pb
from twintier.v1 import values_pb2

NO_READING = nullcontext()
"""The reading of a client without near cache."""


class Stored(Enum):
    """The outcome of a write."""

    YES = auto()
    NO = auto()
    REFUSED = auto()
    """The service refused the request, so that a lease is still held."""


class Core:
    """Reads and writes by the service."""

    def __init__(self, settings: Settings, connection: Connection, io: Io) -> None:
        self.io = io
        self.defaults = settings.defaults
        self.observer = Observer(settings.hooks)
        self.transport = Transport(io, connection.metadata, self.observer)
        self.serializer = settings.serializer
        self.reader = Reader(settings.serializer, self.observer)
        self._later = Later(settings.later_queue, io, self.observer)
        self._near: NearReader | None = None
        self._watcher: Watcher | None = None
        if settings.near_cache is not None:
            near, namespace = Near(settings.near_cache), settings.defaults.namespace
            self._watcher = Watcher(near, namespace, io, connection.metadata)
            self._near = NearReader(near, self._watcher, namespace, settings.serializer)

    def near(self, key: str, options: Options, tokens: Tokens | None) -> Lookup | None:
        """Returns the answer of the near cache, if it has one."""
        if self._near is None:
            return None
        entry = self._near.get(key, options, tokens)
        return None if entry is None else self.reader.near(key, entry)

    def reading(self, key: str, options: Options, tokens: Tokens | None, request: Any) -> Any:
        """Encloses a read, whose answer the near cache may keep."""
        if self._near is None:
            return NO_READING
        return self._near.reading(key, options, tokens, request)

    async def get(self, key: str, options: Options, tokens: Tokens | None) -> Lookup:
        """Reads one entry."""
        request = requests.get(key, options, stale_if_error=options.stale_if_error)
        with self.reading(key, options, tokens, request) as reading:
            try:
                response = await self.transport.call("Get", request, options.timeout, tokens)
            except ServiceError:
                missed = self.reader.miss(key)
                if options.strict:
                    raise
                return missed
            if reading is not None:
                reading.keep(response)
        return self.reader.answer(key, response)

    async def get_many(
        self, keys: Iterable[str], options: Options, tokens: Tokens | None
    ) -> dict[str, Lookup]:
        """Reads many entries."""
        found: dict[str, Lookup] = {}
        rest: list[str] = []
        for key in dict.fromkeys(keys):
            lookup = self.near(key, options, tokens)
            if lookup is None:
                rest.append(key)
            else:
                found[key] = lookup
        for batch in requests.batches((key, len(key)) for key in rest):
            found.update(await self._get_batch(batch, options, tokens))
        return found

    async def _get_batch(
        self, keys: list[str], options: Options, tokens: Tokens | None
    ) -> dict[str, Lookup]:
        request = pb.BatchGetRequest(
            namespace=options.namespace,
            keys=keys,
            consistency=options.consistency,
            max_staleness=wire(options.max_staleness),
        )
        try:
            responses = await self.transport.call("BatchGet", request, options.timeout, tokens)
        except ServiceError:
            missed = {key: self.reader.miss(key) for key in keys}
            if options.strict:
                raise
            return missed
        found = {}
        for item in (item for response in responses for item in response.items):
            key = keys[item.index]
            self._check_item(item, options)
            found[key] = self.reader.answer(key, item)
        return found

    def _check_item(self, item: Any, options: Options) -> None:
        """Counts the error of an item of a batch, and raises it if the call is strict."""
        if item.HasField("error"):
            self.observer.count("failures")
            if options.strict:
                raise item_error(item.error)

    def encode(self, key: str, value: Any) -> bytes:
        """Returns the bytes of a value."""
        return encode(self.serializer, key, value)

    async def set(
        self, key: str, data: Any, options: Options, tokens: Tokens | None, **condition: Any
    ) -> bool:
        """Writes bytes, or `requests.ABSENT`. Returns True if the entry was stored."""
        return await self.try_set(key, data, options, tokens, **condition) is Stored.YES

    async def try_set(
        self, key: str, data: Any, options: Options, tokens: Tokens | None, **condition: Any
    ) -> Stored:
        """Writes an entry, and says whether the service refused the request."""
        request = requests.write(
            key, data, self.serializer.content_type, options, options.namespace, **condition
        )
        try:
            response = await self.transport.call("Set", request, options.timeout, tokens)
        except ServiceError as error:
            self.observer.count("not_stored")
            if options.strict:
                raise
            return Stored.REFUSED if isinstance(error, RejectedError) else Stored.NO
        finally:
            self._changed(options, [key])
        if response.outcome == values_pb2.SET_OUTCOME_STORED:
            return Stored.YES
        self.observer.count("not_stored")
        return Stored.NO

    async def set_many(
        self, data: Mapping[str, bytes], options: Options, tokens: Tokens | None
    ) -> requests.KeySet:
        """Writes many entries. Returns the keys that were stored."""
        stored: requests.KeySet = set()
        sizes = ((key, len(key) + len(value)) for key, value in data.items())
        for keys in requests.batches(sizes):
            batch = {key: data[key] for key in keys}
            stored |= await self._set_batch(batch, options, tokens)
        return stored

    async def _set_batch(
        self, data: dict[str, bytes], options: Options, tokens: Tokens | None
    ) -> requests.KeySet:
        content_type = self.serializer.content_type
        request = pb.BatchSetRequest(
            namespace=options.namespace,
            items=[requests.write(k, d, content_type, options, "") for k, d in data.items()],
        )
        try:
            response = await self.transport.call("BatchSet", request, options.timeout, tokens)
        except ServiceError:
            self.observer.count("not_stored", len(data))
            if options.strict:
                raise
            return set()
        finally:
            self._changed(options, data)
        outcomes = zip(data, response.results, strict=True)
        stored = {k for k, r in outcomes if r.outcome == values_pb2.SET_OUTCOME_STORED}
        self.observer.count("not_stored", len(data) - len(stored))
        for result in response.results:
            self._check_item(result, options)
        return stored

    async def touch(self, key: str, options: Options, tokens: Tokens | None) -> bool:
        """Changes the time to live. Returns True if there is such an entry."""
        request = pb.TouchRequest(
            namespace=options.namespace,
            key=key,
            ttl=wire(options.ttl),
            no_expiry=pb.NoExpiry() if options.no_expiry else None,
        )
        try:
            response = await self.transport.call("Touch", request, options.timeout, tokens)
        except ServiceError:
            self.observer.count("not_stored")
            if options.strict:
                raise
            return False
        finally:
            self._changed(options, [key])
        touched: bool = response.outcome == pb.TOUCH_OUTCOME_TOUCHED
        return touched

    async def invalidate(
        self, selection: Selection, options: Options, tokens: Tokens | None
    ) -> int | None:
        """Removes entries. Returns their number if it is known, or `None` if it failed."""
        removed = 0
        for selector in selection.requests():
            request = pb.InvalidateRequest(
                namespace=options.namespace, source_version=options.source_version, **selector
            )
            try:
                response = await self.transport.call("Invalidate", request, options.timeout, tokens)
            except ServiceError:
                self.observer.count("not_stored")
                if options.strict:
                    raise
                return None
            finally:
                self._changed(options, selection.keys)
            removed += response.removed
        return removed

    def _changed(self, options: Options, keys: Iterable[str] | None) -> None:
        """Notes an own write: no later read may return what was before it."""
        namespace = options.namespace
        self.io.forget(lambda flight: flight[0] == namespace and (not keys or flight[1] in keys))
        if self._near is None or namespace != self.defaults.namespace:
            return
        if keys:
            self._near.near.changed(keys)
        else:
            self._near.near.covered(lambda key: True)

    def later(self, write: Write) -> bool:
        """Queues a write."""
        return self._later.put(write)

    async def close(self, seconds: float) -> bool:
        """Drains the queue of writes, and ends everything. Returns False if writes were lost."""
        drained = await self._later.drain(seconds)
        if self._watcher is not None:
            await self._watcher.close(seconds)
        await self.io.close(seconds)
        return drained
