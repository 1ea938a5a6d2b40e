"""Counters, and the hooks that are called with every event."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, fields
from typing import Any

log = logging.getLogger("twintier")


@dataclass(frozen=True)
class Counters:
    """Counts of a client since it was made."""

    hits: int = 0
    """Reads that returned a value, from memory or from the service."""
    near_hits: int = 0
    """Hits that the near cache answered."""
    negative_hits: int = 0
    """Reads that returned "absent"."""
    misses: int = 0
    """Reads that found nothing, unreadable values included."""
    stale: int = 0
    """Values returned past their end."""
    loads: int = 0
    """Runs of loaders that ended."""
    load_failures: int = 0
    """Loads that failed."""
    refreshes: int = 0
    """Loads in the background, of entries that were due for refresh."""
    shared: int = 0
    """Callers that shared the call of another one in the same process."""
    failures: int = 0
    """Calls of the service that failed: unavailable, too late or refused."""
    breaker_opened: int = 0
    """Times the breaker opened."""
    breaker_skipped: int = 0
    """Calls that the breaker kept from being made."""
    not_stored: int = 0
    """Writes that were not stored for whatever reason: failed, refused, fenced."""
    unreadable: int = 0
    """Values that could not be decoded."""
    later_dropped: int = 0
    """Background writes dropped because the queue was full, or the client was closed."""


class Hooks:
    """Callbacks of a client. Override those that you need; they must be fast.

    An error of a hook is logged and goes no further.
    """

    def on_hit(self, key: str, *, near: bool, stale: bool) -> None:
        """Called when a read returned a value; `near` if from memory, `stale` if past its end."""

    def on_negative_hit(self, key: str) -> None:
        """Called when a read returned "absent"."""

    def on_miss(self, key: str) -> None:
        """Called when a read found nothing."""

    def on_load(
        self, key: str, seconds: float, error: BaseException | None, *, background: bool
    ) -> None:
        """Called when a loader ended; `error` if it failed, `background` for a refresh."""

    def on_call(self, method: str, seconds: float, error: BaseException | None) -> None:
        """Called when a call of the service ended; `error` if it failed."""


_NAMES = tuple(field.name for field in fields(Counters))


class Observer:
    """Counts events and passes them to the hooks."""

    def __init__(self, hooks: tuple[Hooks, ...]) -> None:
        self.hooks = hooks
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(_NAMES, 0)

    def counters(self) -> Counters:
        """Returns the counts until now."""
        with self._lock:
            return Counters(**self._counts)

    def count(self, name: str, number: int = 1) -> None:
        """Adds to a counter."""
        with self._lock:
            self._counts[name] += number

    def hit(self, key: str, *, stale: bool) -> None:
        """Counts a value from the service."""
        with self._lock:
            self._counts["hits"] += 1
            if stale:
                self._counts["stale"] += 1
        if self.hooks:
            self._call("on_hit", key, near=False, stale=stale)

    def near_hit(self, key: str) -> None:
        """Counts a value from the near cache."""
        with self._lock:
            self._counts["hits"] += 1
            self._counts["near_hits"] += 1
        if self.hooks:
            self._call("on_hit", key, near=True, stale=False)

    def negative_hit(self, key: str) -> None:
        """Counts a negative entry."""
        self.count("negative_hits")
        if self.hooks:
            self._call("on_negative_hit", key)

    def miss(self, key: str) -> None:
        """Counts a read that found nothing."""
        self.count("misses")
        if self.hooks:
            self._call("on_miss", key)

    def load(
        self, key: str, seconds: float, error: BaseException | None, *, background: bool
    ) -> None:
        """Counts the run of a loader."""
        with self._lock:
            self._counts["loads"] += 1
            if error is not None:
                self._counts["load_failures"] += 1
        if self.hooks:
            self._call("on_load", key, seconds, error, background=background)

    def call(self, method: str, seconds: float, error: BaseException | None) -> None:
        """Passes on the end of a call of the service."""
        self._call("on_call", method, seconds, error)

    def _call(self, name: str, *arguments: Any, **named: Any) -> None:
        for hooks in self.hooks:
            try:
                getattr(hooks, name)(*arguments, **named)
            except Exception:
                log.exception("hook %s of %r failed", name, hooks)
