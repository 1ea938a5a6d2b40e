"""Blocking input/output: threads, and grpc's blocking calls."""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from twintier._connection import Connection, methods
from twintier._errors import UnavailableError, UsageError, service_error
from twintier._io import CallMetadata, Loader, Response
from twintier._recursion import refuse_recursion

T = TypeVar("T")

WORKERS = 4
"""Threads that refresh entries in the background."""
BACKLOG = 32
"""Refreshes that run or wait for a thread."""
_LEFT = object()
"""The result of shared work whose thread was interrupted."""


def complete(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a blocking operation suspended")


class BlockingSignal:
    """A `Signal` of threads."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set
        self.clear = self._event.clear

    async def wait(self, seconds: float) -> bool:
        """Waits until the signal is set. Returns False after `seconds`."""
        return self._event.wait(seconds)


class BlockingGate:
    """A `Gate` of threads."""

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)
        self.leave = self._places.release

    async def enter(self) -> None:
        """Waits for a free place and takes it."""
        self._places.acquire()


class BlockingStream:
    """A `Stream` that blocks the reading thread."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def read(self) -> Response | None:
        """Returns the next answer, or `None` after the last one."""
        try:
            return next(self._call, None)
        except grpc.RpcError as error:
            raise service_error(error) from error

    def cancel(self) -> None:
        """Ends the stream."""
        self._call.cancel()


class BlockingService:
    """A thread that runs until the client is closed."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        run = contextvars.Context().run
        self._thread = threading.Thread(
            target=lambda: run(complete, work()), name=name, daemon=True
        )
        self._thread.start()

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return self._thread.is_alive()

    async def join(self, seconds: float) -> bool:
        """Waits for its end. Returns False after `seconds`."""
        self._thread.join(seconds)
        return not self.alive


class Flight:
    """Work of one thread that others wait for: much lighter than a `Future`."""

    __slots__ = ("_error", "_latch", "_result")

    def __init__(self) -> None:
        self._latch = threading.Lock()
        self._latch.acquire()
        self._result: Any = None
        self._error: Exception | None = None

    def end(self, result: Any, error: Exception | None = None) -> None:
        """Gives all that wait the result or the error."""
        self._result, self._error = result, error
        self._latch.release()

    def wait(self) -> Any:
        """Returns the result, or raises the error."""
        with self._latch:
            pass
        if self._error is not None:
            raise self._error
        return self._result


class BlockingIo:
    """The `Io` of `Cache`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._methods: dict[str, Any] = {}
        self._channel: Any = None
        self._closed = False
        self._flights: dict[Hashable, Flight] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._pending: set[Future[None]] = set()
        self.signal = BlockingSignal
        self.gate = BlockingGate
        self.service = BlockingService

    def _method(self, name: str) -> Any:
        # The connection is made by the first call, so that a process may fork before it.
        with self._lock:
            if self._closed:
                raise UnavailableError("the client is closed")
            if self._channel is None:
                self._channel = self._connection.channel(grpc)
                self._methods = methods(self._channel)
            return self._methods[name]

    async def call(
        self, method: str, request: Message, timeout: float, metadata: CallMetadata
    ) -> Response:
        """Calls a unary method of the service."""
        call = self._methods.get(method) or self._method(method)
        try:
            return call(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            raise service_error(error) from error
        except ValueError as error:
            # A channel that was closed meanwhile.
            raise UnavailableError(str(error)) from error

    def stream(
        self, method: str, request: Message, timeout: float | None, metadata: CallMetadata
    ) -> BlockingStream:
        """Calls a method of the service that answers with a stream."""
        call = self._method(method)
        try:
            return BlockingStream(call(request, timeout=timeout, metadata=metadata))
        except ValueError as error:
            raise UnavailableError(str(error)) from error

    async def load(self, loader: Loader) -> Any:
        """Runs a loader."""
        value = loader()
        if inspect.iscoroutine(value):
            value.close()
            raise UsageError("the loader of a Cache must not be a coroutine; use AsyncCache")
        return value

    async def share(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], joined: Callable[[], None]
    ) -> T:
        """Runs `work`, or waits for the work that runs for the same key."""
        while True:
            with self._lock:
                flight = self._flights.get(key)
                if flight is None:
                    own = self._flights[key] = Flight()
                    break
            refuse_recursion(key)
            joined()
            result = flight.wait()
            if result is not _LEFT:
                shared: T = result
                return shared
        return await self._lead(key, own, work)

    async def _lead(
        self, key: Hashable, flight: Flight, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        try:
            result = await work()
        except Exception as error:
            self._land(key, flight)
            flight.end(None, error)
            raise
        except BaseException:
            # An interrupt concerns this thread only.
            self._land(key, flight)
            flight.end(_LEFT)
            raise
        self._land(key, flight)
        flight.end(result)
        return result

    def _land(self, key: Hashable, flight: Flight) -> None:
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]

    def forget(self, matches: Callable[[Any], bool]) -> None:
        """Keeps later callers from joining work whose key matches."""
        if self._flights:
            with self._lock:
                for key in [key for key in self._flights if matches(key)]:
                    del self._flights[key]

    def background(self, work: Coroutine[Any, Any, None]) -> bool:
        """Runs `work` in a bounded pool. Returns False if the pool is full."""
        with self._lock:
            if len(self._pending) >= BACKLOG or self._closed:
                work.close()
                return False
            if self._pool is None:
                self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="twintier-refresh")
            task = self._pool.submit(contextvars.copy_context().run, complete, work)
            self._pending.add(task)
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: Future[None]) -> None:
        with self._lock:
            self._pending.discard(task)

    async def close(self, seconds: float) -> None:
        """Waits for background work up to a limit, and closes the connection."""
        with self._lock:
            self._closed = True
            pending, pool, channel = list(self._pending), self._pool, self._channel
            self._methods = {}
        wait(pending, seconds)
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        if channel is not None:
            channel.close()
