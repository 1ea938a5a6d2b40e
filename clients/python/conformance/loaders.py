"""Loaders and gates of the runner."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from twintier._duration import seconds


class LoadError(Exception):
    """The error of a loader."""


class Loaders:
    """Loaders by name, for threads or for asyncio."""

    def __init__(self, *, blocking: bool) -> None:
        self._blocking = blocking
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, int]] = defaultdict(lambda: {"started": 0, "ended": 0})
        event: Callable[[], Any] = threading.Event if blocking else asyncio.Event
        self._gates: dict[str, Any] = defaultdict(event)

    def counts(self, name: str) -> dict[str, int]:
        """Returns the counts of the loaders of a name."""
        with self._lock:
            return dict(self._counts[name])

    def open(self, gate: str) -> None:
        """Lets the loaders go on that wait for a gate."""
        self._gates[gate].set()

    def loader(self, given: dict[str, Any]) -> Callable[[], Any]:
        """Returns a loader of the library."""
        gate = self._gates[given["gate"]] if "gate" in given else None
        delay = seconds("delay", given.get("delay", "0s"))

        def blocking() -> Any:
            self._count(given["name"], "started")
            try:
                if gate is not None:
                    gate.wait()
                time.sleep(delay)
                return result(given)
            finally:
                self._count(given["name"], "ended")

        async def waiting() -> Any:
            self._count(given["name"], "started")
            try:
                if gate is not None:
                    await gate.wait()
                await asyncio.sleep(delay)
                return result(given)
            finally:
                self._count(given["name"], "ended")

        return blocking if self._blocking else waiting

    def _count(self, name: str, event: str) -> None:
        with self._lock:
            self._counts[name][event] += 1


def result(given: dict[str, Any]) -> Any:
    """Returns what a loader returns, or raises its error."""
    if "error" in given:
        raise LoadError(given["error"])
    if given.get("absent"):
        return None
    return bytes_of(given["value"])


def bytes_of(value: Any) -> Any:
    """Returns a value of the protocol, with bytes."""
    if isinstance(value, dict):
        if value.keys() == {"$bytes"}:
            return base64.b64decode(value["$bytes"])
        return {name: bytes_of(item) for name, item in value.items()}
    return [bytes_of(item) for item in value] if isinstance(value, list) else value
