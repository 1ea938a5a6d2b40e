"""Reads: from the near cache, and from the answers of the service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twintier._duration import from_wire
from twintier._errors import UnreadableError
from twintier._lookup import MISS, NEGATIVE, Lookup, of_entry
from twintier._near import Near, NearEntry, Ticket
from twintier._observer import Observer, log
from twintier._options import Options
from twintier._serializers import Serializer, decode, readable
from twintier._tokens import Tokens
from twintier._watch import Watcher


class NearReader:
    """Answers reads from the near cache, and keeps answers there."""

    def __init__(
        self, near: Near, watcher: Watcher, namespace: str, serializer: Serializer
    ) -> None:
        self.near = near
        self._watcher = watcher
        self._namespace = namespace
        self._serializer = serializer

    def get(self, key: str, options: Options, tokens: Tokens | None) -> NearEntry | None:
        """Returns the entry of `key`, if it may be answered."""
        if tokens is not None or options.namespace != self._namespace or options.strong:
            return None
        if not self.near.proven(options.max_staleness):
            self._watcher.ensure()
            return None
        return self.near.get(key)

    @contextmanager
    def reading(
        self, key: str, options: Options, tokens: Tokens | None, request: Any
    ) -> Iterator[Reading]:
        """Encloses a read of the service, whose answer may be kept."""
        ticket = None
        if tokens is None and options.namespace == self._namespace:
            ticket = self.near.begin(key)
        if ticket is None:
            yield Reading(self, None, options)
            return
        request.tokens.append(ticket.token)
        try:
            yield Reading(self, ticket, options)
        finally:
            self.near.end(ticket)

    def keep(self, ticket: Ticket, response: Any, options: Options, called: float) -> None:
        """Keeps the answer to a Get."""
        result = response.WhichOneof("result")
        if result == "hit":
            hit, data = response.hit, response.hit.value
            if not readable(self._serializer, hit.content_type):
                return
        elif result == "negative_hit":
            hit, data = response.negative_hit, None
        else:
            return
        entry = hit.entry
        if entry.HasField("stale") or entry.refresh_due:
            return
        expires = called + from_wire(entry.ttl) if entry.HasField("ttl") else float("inf")
        if options.soft_ttl is not None:
            # The service has to notice that the entry is due for refresh.
            expires = min(expires, called + options.soft_ttl - from_wire(entry.age))
        self.near.keep(ticket, data, expires)


class Reading:
    """One read of the service, whose answer may be kept."""

    def __init__(self, reader: NearReader, ticket: Ticket | None, options: Options) -> None:
        self._reader = reader
        self._ticket = ticket
        self._options = options
        self._called = time.monotonic()

    def keep(self, response: Any) -> None:
        """Keeps the answer, unless a change covered its key meanwhile."""
        if self._ticket is not None:
            self._reader.keep(self._ticket, response, self._options, self._called)


class Reader:
    """Decodes and counts what reads return."""

    def __init__(self, serializer: Serializer, observer: Observer) -> None:
        self._serializer = serializer
        self._observer = observer

    def near(self, key: str, entry: NearEntry) -> Lookup | None:
        """Returns the result of an entry in memory, or `None` if it is unreadable."""
        if entry.data is None:
            self._observer.negative_hit(key)
            return NEGATIVE
        try:
            value = self._serializer.loads(entry.data)
        except Exception:
            # The read of the service counts it.
            return None
        self._observer.near_hit(key)
        return Lookup(True, value)

    def answer(self, key: str, response: Any) -> Lookup:
        """Returns the result of an answer, or of an item of a batch."""
        result = response.WhichOneof("result")
        if result == "hit":
            return self.hit(key, response.hit)
        if result == "negative_hit":
            self._observer.negative_hit(key)
            return NEGATIVE
        return self.miss(key)

    def miss(self, key: str) -> Lookup:
        """Counts a read that found nothing."""
        self._observer.miss(key)
        return MISS

    def hit(self, key: str, hit: Any) -> Lookup:
        """Returns the result of a value, which is a miss if it is unreadable."""
        try:
            value = self.decode(key, hit)
        except UnreadableError:
            return self.miss(key)
        lookup = of_entry(value, hit.entry)
        self._observer.hit(key, stale=lookup.stale)
        return lookup

    def stale(self, key: str, hit: Any) -> Lookup:
        """Returns the stale value after a failed load. Its read was counted as a miss."""
        try:
            value = self.decode(key, hit)
        except UnreadableError:
            return MISS
        self._observer.count("stale")
        return of_entry(value, hit.entry)._replace(stale=True)

    def decode(self, key: str, hit: Any) -> Any:
        """Returns the value of a hit, or raises `UnreadableError`, which is counted."""
        try:
            return decode(self._serializer, hit.value, hit.content_type)
        except UnreadableError as error:
            self._observer.count("unreadable")
            log.debug("key %r is unreadable: %s", key, error)
            raise
