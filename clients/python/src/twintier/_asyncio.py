"""Input/output of asyncio: tasks, and grpc.aio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from twintier._connection import Connection, methods
from twintier._errors import UnavailableError, service_error
from twintier._io import CallMetadata, Loader, Response
from twintier._recursion import refuse_recursion

T = TypeVar("T")

BACKLOG = 32
"""Refreshes that run at once."""


class AsyncSignal:
    """A `Signal` of tasks."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.set = self._event.set
        self.clear = self._event.clear

    async def wait(self, seconds: float) -> bool:
        """Waits until the signal is set. Returns False after `seconds`."""
        try:
            return await asyncio.wait_for(self._event.wait(), seconds)
        except asyncio.TimeoutError:
            return False


class AsyncGate:
    """A `Gate` of tasks."""

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self.enter = self._places.acquire
        self.leave = self._places.release


class AsyncStream:
    """A `Stream` of tasks."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._cancelled = False

    async def read(self) -> Response | None:
        """Returns the next answer, or `None` after the last one."""
        try:
            answer = await self._call.read()
        except grpc.RpcError as error:
            raise service_error(error) from error
        except asyncio.CancelledError:
            if self._cancelled:
                return None
            raise
        return None if answer is grpc.aio.EOF else answer

    def cancel(self) -> None:
        """Ends the stream."""
        self._cancelled = True
        self._call.cancel()


class AsyncService:
    """A task that runs until the client is closed."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._task = asyncio.create_task(work(), name=name)

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return not self._task.done() and self._task.get_loop() is asyncio.get_running_loop()

    async def join(self, seconds: float) -> bool:
        """Waits for its end, and cancels it after `seconds`. Returns False then."""
        if not self.alive:
            return True
        await asyncio.wait([self._task], timeout=seconds)
        return self._task.done() or not self._task.cancel()


class AsyncIo:
    """The `Io` of `AsyncCache`. Its connection belongs to the event loop of the first call.

    A client that is used in another event loop, as in tests, connects again there.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._reset()
        self.signal = AsyncSignal
        self.gate = AsyncGate
        self.service = AsyncService

    def _reset(self) -> None:
        self._channel: Any = None
        self._methods: dict[str, Any] = {}
        self._flights: dict[Hashable, asyncio.Task[Any]] = {}
        self._refreshes: set[asyncio.Task[Any]] = set()

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._reset()

    def _method(self, name: str) -> Any:
        self._bind()
        if self._closed:
            raise UnavailableError("the client is closed")
        if self._channel is None:
            self._channel = self._connection.channel(grpc.aio)
            self._methods = methods(self._channel)
        return self._methods[name]

    async def call(
        self, method: str, request: Message, timeout: float, metadata: CallMetadata
    ) -> Response:
        """Calls a unary method of the service."""
        call = self._method(method)
        try:
            return await call(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            raise service_error(error) from error
        except grpc.aio.UsageError as error:
            # A channel that was closed meanwhile.
            raise UnavailableError(str(error)) from error

    def stream(
        self, method: str, request: Message, timeout: float | None, metadata: CallMetadata
    ) -> AsyncStream:
        """Calls a method of the service that answers with a stream."""
        call = self._method(method)
        try:
            return AsyncStream(call(request, timeout=timeout, metadata=metadata))
        except grpc.aio.UsageError as error:
            raise UnavailableError(str(error)) from error

    async def load(self, loader: Loader) -> Any:
        """Runs a loader."""
        value = loader()
        return await value if inspect.isawaitable(value) else value

    async def share(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], joined: Callable[[], None]
    ) -> T:
        """Runs `work` in a task of its own, or waits for the task of the same key.

        A caller that is cancelled does not cancel the task.
        """
        self._bind()
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(work())
            flight.add_done_callback(lambda task: self._land(key, task))
        else:
            refuse_recursion(key)
            joined()
        result: T = await asyncio.shield(flight)
        return result

    def _land(self, key: Hashable, flight: asyncio.Task[Any]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        # Retrieves the error, for which there may be no caller left.
        if not flight.cancelled():
            flight.exception()

    def forget(self, matches: Callable[[Any], bool]) -> None:
        """Keeps later callers from joining work whose key matches."""
        if self._flights:
            for key in [key for key in self._flights if matches(key)]:
                del self._flights[key]

    def background(self, work: Coroutine[Any, Any, None]) -> bool:
        """Runs `work` in a bounded pool. Returns False if the pool is full."""
        self._bind()
        if len(self._refreshes) >= BACKLOG or self._closed:
            work.close()
            return False
        task = asyncio.create_task(work)
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)
        return True

    async def close(self, seconds: float) -> None:
        """Waits for background work up to a limit, and closes the connection."""
        self._bind()
        self._closed = True
        tasks = [*self._flights.values(), *self._refreshes]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
            for task in tasks:
                task.cancel()
        if self._channel is not None:
            # Without a grace the calls of others would end as if their tasks were cancelled.
            await self._channel.close(seconds)
