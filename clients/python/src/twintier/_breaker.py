"""The circuit breaker: an outage costs one timeout per second, not one per call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FAILURES = 3
"""Failed calls in a row that open the breaker."""
PROBE_INTERVAL = 1.0
"""Seconds between two calls while the breaker is open."""


class Breaker:
    """Opens after failures in a row, then admits one call per second as a probe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._next_probe: float | None = None

    @property
    def open(self) -> bool:
        """True while most calls are skipped."""
        return self._next_probe is not None

    def admits(self) -> bool:
        """Returns True if a call may be made now."""
        if self._next_probe is None:
            return True
        with self._lock:
            now = self._clock()
            if self._next_probe is None or now < self._next_probe:
                return self._next_probe is None
            self._next_probe = now + PROBE_INTERVAL
            return True

    def succeeded(self) -> None:
        """Counts an answer of the service, which closes the breaker."""
        if self._failures:
            with self._lock:
                self._failures = 0
                self._next_probe = None

    def failed(self) -> bool:
        """Counts a failed call. Returns True if it opened the breaker."""
        with self._lock:
            self._failures += 1
            if self._failures < FAILURES or self._next_probe is not None:
                return False
            self._next_probe = self._clock() + PROBE_INTERVAL
            return True
