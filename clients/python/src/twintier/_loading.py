"""`get_or_set`: one caller of the fleet loads a value, the others wait for it."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from twintier import _requests as requests
from twintier._core import Core, Stored
from twintier._errors import DeadlineError, ServiceError, UsageError
from twintier._io import Loader
from twintier._lookup import MISS, NEGATIVE, Lookup
from twintier._observer import log
from twintier._options import Options
from twintier._recursion import loading
from twintier._tokens import Tokens
from twintier.v1 import cache_pb2 as pb
from twintier.v1 import values_pb2


@dataclass(slots=True)
class Load:
    """One load of a key."""

    core: Core
    key: str
    loader: Loader
    options: Options
    tokens: Tokens | None
    none_is_absent: bool = True
    background: bool = False

    async def result(self) -> Lookup:
        """Returns the value of the key, from the cache or from the loader."""
        tokens = self.tokens.current() if self.tokens else ()
        flight = (self.options.namespace, self.key, tokens)
        observer = self.core.observer
        return await self.core.io.share(
            flight, lambda: self._lead(flight), lambda: observer.count("shared")
        )

    async def _lead(self, flight: Hashable) -> Lookup:
        try:
            response = await self._get()
        except ServiceError:
            self.core.reader.miss(self.key)
            if self.options.strict:
                raise
            return await self._run(flight)
        lease = response.lease.id if response.HasField("lease") else None
        lookup = self.core.reader.answer(self.key, response)
        if lookup.found or lookup.absent:
            if lease:
                await self._begin_refresh(flight, lease)
            return lookup
        if lease:
            return await self._fill(flight, {"lease": lease})
        return await self._load_without_lease(flight, response)

    async def _load_without_lease(self, flight: Hashable, response: Any) -> Lookup:
        if response.WhichOneof("result") == "hit":
            # The value was unreadable. A newer one is not overwritten.
            return await self._fill(flight, {"if_version": response.hit.entry.version})
        if response.miss.reason == values_pb2.MISS_REASON_ABSENT:
            # The service grants no leases where it has no Redis.
            return await self._fill(flight, {})
        return await self._run(flight)

    async def _get(self) -> Any:
        options = self.options
        after: tuple[str, ...] = ()
        if options.strong:
            # A strong read requests no lease. The next one must not be older.
            response = await self._call(requests.get(self.key, options), options.timeout)
            if response.WhichOneof("result") != "miss":
                return response
            options = replace(options, consistency=values_pb2.CONSISTENCY_BOUNDED)
            after = (response.token,)
        first = self._request(options, after, wait=False)
        with self.core.reading(self.key, options, self.tokens, first) as reading:
            response = await self._call(first, options.timeout)
            if reading is not None:
                reading.keep(response)
        if response.miss.reason != values_pb2.MISS_REASON_LEASED or options.wait <= 0:
            return response
        try:
            second = self._request(options, after, wait=True)
            return await self._call(second, options.wait, waits=True)
        except ServiceError as error:
            if options.strict and not isinstance(error, DeadlineError):
                raise
            return response

    def _request(self, options: Options, after: tuple[str, ...], *, wait: bool) -> pb.GetRequest:
        return requests.get(
            self.key,
            options,
            tokens=() if self.tokens else after,
            lease=requests.lease(options, wait=wait),
            # Without a wait the service would answer the stale value, and nobody would load.
            stale_if_error=wait and options.stale_if_error,
        )

    async def _call(self, request: Any, timeout: float, *, waits: bool = False) -> Any:
        return await self.core.transport.call("Get", request, timeout, self.tokens, waits=waits)

    async def _run(self, flight: Hashable) -> Lookup:
        begun = time.perf_counter()
        try:
            with loading(flight):
                value = await self.core.io.load(self.loader)
        except BaseException as error:
            self._ended(begun, error)
            raise
        self._ended(begun, None)
        return NEGATIVE if value is None and self.none_is_absent else Lookup(True, value)

    def _ended(self, begun: float, error: BaseException | None) -> None:
        spent = time.perf_counter() - begun
        self.core.observer.load(self.key, spent, error, background=self.background)

    async def _fill(self, flight: Hashable, condition: dict[str, str]) -> Lookup:
        try:
            loaded = await self._run(flight)
            data = requests.ABSENT if loaded.absent else self.core.encode(self.key, loaded.value)
        except BaseException as error:
            stale = await self._release(condition.get("lease"))
            usable = isinstance(error, Exception) and not isinstance(error, UsageError)
            if stale.found and usable and self.options.stale_if_error:
                log.warning("the load of %r failed, a stale value is used", self.key, exc_info=True)
                return stale
            raise
        options = replace(self.options, strict=False)
        stored = await self.core.try_set(self.key, data, options, self.tokens, **condition)
        if stored is Stored.REFUSED:
            await self._release(condition.get("lease"))
        return loaded

    async def _release(self, lease: str | None, *, failed: bool = True) -> Lookup:
        if lease is None:
            return MISS
        options = self.options
        request = pb.ReleaseLeaseRequest(
            namespace=options.namespace, key=self.key, lease=lease, failed=failed
        )
        try:
            response = await self.core.transport.call("ReleaseLease", request, options.timeout)
        except ServiceError:
            return MISS
        if options.stale_if_error and response.HasField("stale"):
            return self.core.reader.stale(self.key, response.stale)
        return MISS

    async def _begin_refresh(self, flight: Hashable, lease: str) -> None:
        if not self.core.io.background(self._refresh(flight, lease)):
            await self._release(lease, failed=False)

    async def _refresh(self, flight: Hashable, lease: str) -> None:
        try:
            options = replace(self.options, stale_if_error=False)
            load = replace(self, options=options, background=True)
            await load._fill(flight, {"lease": lease})
        except Exception:
            log.warning("the refresh of %r failed", self.key, exc_info=True)
        finally:
            self.core.observer.count("refreshes")


async def refresh(load: Load) -> Lookup:
    """Runs the loader and stores its value, whatever the cache holds."""
    return await load._fill(("refresh", load.key), {})


__all__ = ["Load", "refresh"]
