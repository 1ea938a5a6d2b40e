"""The seam between the logic, written once as coroutines, and blocking or asyncio input/output.

The logic awaits an `Io`. With `BlockingIo` no awaitable ever suspends, so that `complete` runs a
coroutine to its end in the calling thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

T = TypeVar("T")
Response = Any
"""A message of the service: its type follows from the method."""
Loader = Callable[[], Any]
"""A function without arguments that loads a value, for `AsyncCache` also a coroutine function."""
CallMetadata = list[tuple[str, str]] | None


class Signal(Protocol):
    """An event that many wait for."""

    def set(self) -> None:
        """Wakes all that wait."""

    def clear(self) -> None:
        """Makes the next wait wait."""

    def wait(self, seconds: float) -> Awaitable[bool]:
        """Waits until the signal is set. Returns False after `seconds`."""


class Stream(Protocol):
    """Answers of the service, one after the other."""

    def read(self) -> Awaitable[Response | None]:
        """Returns the next answer, or `None` after the last one."""

    def cancel(self) -> None:
        """Ends the stream."""


class Gate(Protocol):
    """Bounds the number of those inside."""

    def enter(self) -> Awaitable[Any]:
        """Waits for a free place and takes it."""

    def leave(self) -> None:
        """Frees the place."""


class Io(Protocol):
    """Calls, waits and background work."""

    def call(
        self, method: str, request: Message, timeout: float, metadata: CallMetadata
    ) -> Awaitable[Response]:
        """Calls a unary method of the service."""

    def stream(
        self, method: str, request: Message, timeout: float | None, metadata: CallMetadata
    ) -> Stream:
        """Calls a method of the service that answers with a stream."""

    def load(self, loader: Loader) -> Awaitable[Any]:
        """Runs a loader."""

    def share(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], joined: Callable[[], None]
    ) -> Awaitable[T]:
        """Runs `work`, or calls `joined` and waits for the work that runs for the same key."""

    def forget(self, matches: Callable[[Any], bool]) -> None:
        """Keeps later callers from joining work whose key matches."""

    def signal(self) -> Signal:
        """Returns a new signal."""

    def gate(self, places: int) -> Gate:
        """Returns a new gate."""

    def background(self, work: Coroutine[Any, Any, None]) -> bool:
        """Runs `work` in a bounded pool. Returns False, and runs nothing, if the pool is full."""

    def service(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> Service:
        """Starts `work`, which runs until the client is closed."""

    def close(self, seconds: float) -> Awaitable[None]:
        """Waits for background work up to a limit, and closes the connections."""


class Service(Protocol):
    """Work that runs until the client is closed."""

    def join(self, seconds: float) -> Awaitable[bool]:
        """Waits for its end. Returns False after `seconds`."""

    @property
    def alive(self) -> bool:
        """True while it runs."""
