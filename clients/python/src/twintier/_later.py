"""Background writes: a bounded queue and its worker."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from twintier._io import Io, Service, Signal
from twintier._observer import Observer, log

Write = Callable[[], Coroutine[Any, Any, bool]]
IDLE = 3600.0


class Later:
    """Carries out writes one after the other, in the order in which they were queued."""

    def __init__(self, capacity: int, io: Io, observer: Observer) -> None:
        self._capacity = capacity
        self._io = io
        self._observer = observer
        self._lock = threading.Lock()
        self._queue: deque[Write] = deque()
        self._signal: Signal
        self._service: Service | None = None
        self._closed = False
        self._lost = False

    def put(self, write: Write) -> bool:
        """Queues a write. Drops the oldest one if the queue is full, or this one when closed."""
        with self._lock:
            full = len(self._queue) >= self._capacity
            if full:
                self._queue.popleft()
            if not self._closed:
                self._queue.append(write)
            queued = not self._closed
            if queued and (self._service is None or not self._service.alive):
                self._signal = self._io.signal()
                self._service = self._io.service(self._run, "twintier-later")
        if full or not queued:
            self._observer.count("later_dropped")
        if queued:
            self._signal.set()
        return queued

    async def drain(self, seconds: float) -> bool:
        """Closes the queue and carries out what it holds, up to a limit.

        Returns False if writes were lost.
        """
        with self._lock:
            self._closed = True
            self._lost = False
        if self._service is None:
            return True
        self._signal.set()
        ended = await self._service.join(seconds)
        with self._lock:
            dropped = len(self._queue)
            self._queue.clear()
        if dropped:
            self._observer.count("later_dropped", dropped)
            log.warning("%d background writes were dropped at the close", dropped)
        return ended and not dropped and not self._lost

    async def _run(self) -> None:
        while True:
            self._signal.clear()
            with self._lock:
                write = self._queue.popleft() if self._queue else None
                if write is None and self._closed:
                    return
            if write is None:
                await self._signal.wait(IDLE)
            elif not await self._done(write):
                self._lost = True

    async def _done(self, write: Write) -> bool:
        try:
            return await write()
        except Exception:
            log.exception("a background write failed")
            return False
