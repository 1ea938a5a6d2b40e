"""The watch that feeds the near cache with changes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from twintier._connection import MetadataSource
from twintier._duration import from_wire, wire
from twintier._errors import RejectedError, ServiceError
from twintier._io import Io, Service, Signal, Stream
from twintier._near import Near
from twintier._observer import log
from twintier._tokens import MAX_TOKENS
from twintier.v1 import watch_pb2 as pb

FIRST_DELAY = 0.1
LAST_DELAY = 2.0


class Watcher:
    """Watches a namespace, and watches again after an interruption."""

    def __init__(self, near: Near, namespace: str, io: Io, metadata: MetadataSource) -> None:
        self._near = near
        self._namespace = namespace
        self._io = io
        self._metadata = metadata
        self._interval = min(max(near.staleness / 4, 0.1), 1.0)
        self._tokens: list[str] = []
        self._heard = 0.0
        self._closed = False
        self._stop: Signal
        self._stream: Stream | None = None
        self._service: Service | None = None

    def ensure(self) -> None:
        """Starts the watch if it does not run, and ends its stream if that has stalled."""
        if self._closed:
            return
        if self._service is None or not self._service.alive:
            self._stop = self._io.signal()
            self._heard = time.monotonic()
            self._service = self._io.service(self._run, "twintier-watch")
        elif time.monotonic() - self._heard > 3 * self._interval + 1 and self._stream is not None:
            self._heard = time.monotonic()
            self._stream.cancel()

    async def close(self, seconds: float) -> None:
        """Ends the watch."""
        self._closed = True
        if self._service is not None:
            self._stop.set()
            if self._stream is not None:
                self._stream.cancel()
            await self._service.join(seconds)

    async def _run(self) -> None:
        delay = FIRST_DELAY
        while not self._closed:
            if await self._watch():
                delay = FIRST_DELAY
            self._near.interrupted()
            if await self._stop.wait(delay):
                return
            delay = min(2 * delay, LAST_DELAY)

    async def _watch(self) -> bool:
        called = time.monotonic()
        established = False
        try:
            self._stream = self._io.stream("Watch", self._request(), None, self._metadata.current())
            while not self._closed and (event := await self._stream.read()) is not None:
                established = True
                self._heard = time.monotonic()
                self._apply(event, called)
        except RejectedError as error:
            log.warning("the near cache is empty: the service refuses its watch: %s", error)
            self._discontinue()
        except ServiceError as error:
            log.debug("the watch was interrupted: %s", error)
        return established

    def _request(self) -> pb.WatchRequest:
        return pb.WatchRequest(
            namespace=self._namespace,
            tokens=self._tokens,
            heartbeat_interval=wire(self._interval),
        )

    def _apply(self, event: Any, called: float) -> None:
        kind = event.WhichOneof("event")
        if kind == "heartbeat":
            self._heartbeat(event.heartbeat, called)
        elif kind == "change":
            self._change(event.change)
        else:
            # Also a kind that a later service may send.
            self._discontinue()

    def _heartbeat(self, heartbeat: Any, called: float) -> None:
        self._tokens = [heartbeat.token]
        proven = None
        if heartbeat.HasField("proof_age"):
            proven = called + from_wire(heartbeat.elapsed) - from_wire(heartbeat.proof_age)
        self._near.heartbeat(heartbeat.token, proven)

    def _change(self, change: Any) -> None:
        # Changes whose tokens are left out are delivered again.
        if self._tokens and change.token and len(self._tokens) < MAX_TOKENS:
            self._tokens.append(change.token)
        covers = change.WhichOneof("covers")
        if covers == "keys":
            self._near.changed(change.keys.keys)
        else:
            self._near.covered(selector(covers, change))

    def _discontinue(self) -> None:
        self._tokens = []
        self._near.discontinued()


def selector(covers: str | None, change: Any) -> Callable[[str], bool]:
    """Returns a function that says whether a change may cover a key."""
    if covers == "prefix":
        below = change.prefix.rstrip(":/")
        return lambda key: key == below or key.startswith((f"{below}:", f"{below}/"))
    if covers == "pattern":
        return pattern(change.pattern)
    # Tags of kept entries are not known: a tag may cover every key.
    return lambda key: True


def pattern(text: str) -> Callable[[str], bool]:
    """Returns a function that matches keys: `*` and `?`, and `\\` escapes the next."""
    parts = {"*": ".*", "?": "."}
    expression = "".join(
        re.escape(piece[1:]) if len(piece) > 1 else parts.get(piece, re.escape(piece))
        for piece in re.findall(r"\\.|.", text, re.DOTALL)
    )
    match = re.compile(expression, re.DOTALL).fullmatch
    return lambda key: match(key) is not None
