"""The near cache: entries in the client's memory, by the rules of docs/watch.md."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from cachetools import LRUCache

from twintier._settings import NearCache

OVERHEAD = 256
"""Estimated bytes of an entry beside its key and value."""
MAX_CHANGED = 10_000
"""Keys that are remembered as changed since the last heartbeat."""


class NearEntry(NamedTuple):
    """An entry in memory."""

    data: bytes | None
    """The value as stored, or `None` for a negative entry."""
    expires: float
    size: int


class Ticket:
    """The right to keep the answer of one read, unless a change covers its key."""

    __slots__ = ("key", "token", "valid")

    def __init__(self, key: str, token: str) -> None:
        self.key = key
        self.token = token
        """The token that the read must present."""
        self.valid = True


class Near:
    """Keeps entries while it is proven that they are fresh enough."""

    def __init__(self, settings: NearCache, clock: Callable[[], float] = time.monotonic) -> None:
        self.staleness = settings.staleness
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: LRUCache[str, NearEntry] = LRUCache(
            settings.max_bytes, getsizeof=lambda entry: entry.size
        )
        self._proven = float("-inf")
        """Every change that was acknowledged before this time was received."""
        self._token = ""
        """That of the last heartbeat; empty while nothing may be kept."""
        self._changed: set[str] = set()
        self._all_changed = False
        self._tickets: set[Ticket] = set()

    def proven(self, max_staleness: float | None = None) -> bool:
        """Returns True if entries are fresh enough to be answered."""
        limit = self.staleness
        if max_staleness is not None and max_staleness < limit:
            limit = max_staleness
        return self._clock() - self._proven <= limit

    def get(self, key: str) -> NearEntry | None:
        """Returns the entry of `key`, if there is one. `proven` must hold."""
        with self._lock:
            entry = self._entries.get(key)
        return entry if entry is not None and self._clock() < entry.expires else None

    def begin(self, key: str) -> Ticket | None:
        """Begins a read whose answer may be kept."""
        with self._lock:
            if not self._token or self._all_changed or key in self._changed:
                return None
            ticket = Ticket(key, self._token)
            self._tickets.add(ticket)
            return ticket

    def end(self, ticket: Ticket) -> None:
        """Ends a read."""
        with self._lock:
            self._tickets.discard(ticket)

    def keep(self, ticket: Ticket, data: bytes | None, expires: float) -> None:
        """Keeps the answer of a read."""
        size = OVERHEAD + len(ticket.key) + len(data or b"")
        with self._lock:
            if ticket.valid and size <= self._entries.maxsize:
                self._entries[ticket.key] = NearEntry(data, expires, size)

    def changed(self, keys: Iterable[str]) -> None:
        """Drops keys that were written, here or elsewhere."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)
                self._changed.add(key)
            for ticket in self._tickets:
                if ticket.key in self._changed:
                    ticket.valid = False
            if len(self._changed) > MAX_CHANGED:
                self._all_changed = True
                self._changed.clear()

    def covered(self, matches: Callable[[str], bool]) -> None:
        """Drops all keys that a selector matches."""
        with self._lock:
            for key in [key for key in self._entries if matches(key)]:
                del self._entries[key]
            self._void()

    def discontinued(self) -> None:
        """Drops everything, and keeps nothing until the next heartbeat."""
        with self._lock:
            self._entries.clear()
            self._token = ""
            self._void()

    def interrupted(self) -> None:
        """Keeps nothing until the next heartbeat. What was kept is answered while proven."""
        with self._lock:
            self._token = ""
            self._void()

    def heartbeat(self, token: str, proven: float | None) -> None:
        """Notes that every change until `proven`, by the clock here, was received."""
        with self._lock:
            self._token = token
            self._changed.clear()
            self._all_changed = False
            if proven is not None and proven > self._proven:
                self._proven = proven

    def _void(self) -> None:
        self._all_changed = True
        for ticket in self._tickets:
            ticket.valid = False
