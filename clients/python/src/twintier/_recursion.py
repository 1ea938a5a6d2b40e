"""Detects a loader that waits for its own load, which would never end."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from twintier._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_loading: ContextVar[frozenset[Hashable]] = ContextVar("twintier-loading", default=frozenset())


@contextmanager
def loading(flight: Hashable) -> Iterator[None]:
    """Marks the context as that of the load `flight`."""
    token = _loading.set(_loading.get() | {flight})
    try:
        yield
    finally:
        _loading.reset(token)


def refuse_recursion(flight: Hashable) -> None:
    """Raises `UsageError` if the context is that of the load `flight`."""
    if flight in _loading.get():
        raise UsageError("a loader must not request the key that it loads")
