"""Calls of the service: deadlines, breaker, metadata, sessions and errors."""

from __future__ import annotations

import time
from typing import Any

from google.protobuf.message import Message

from twintier._breaker import Breaker
from twintier._connection import MetadataSource
from twintier._errors import DeadlineError, ServiceError, UnavailableError
from twintier._io import CallMetadata, Io, Response
from twintier._observer import Observer, log
from twintier._tokens import Tokens

BREAKING = (UnavailableError, DeadlineError)
"""Errors that open the breaker."""
L2_UNAVAILABLE = "L2_UNAVAILABLE"
"""The reason of a replica that works, when Redis does not."""
STREAMS = frozenset({"BatchGet"})
"""Methods that answer with a stream of a few messages."""


class Transport:
    """Makes calls, and knows whether the service answers."""

    def __init__(self, io: Io, metadata: MetadataSource, observer: Observer) -> None:
        self._io = io
        self._metadata = metadata
        self._observer = observer
        self._breaker = Breaker()

    async def call(
        self,
        method: str,
        request: Any,
        timeout: float,
        tokens: Tokens | None = None,
        *,
        waits: bool = False,
    ) -> Response:
        """Calls a method, with the tokens of a session. `waits` if the call waits for a lease."""
        if self._breaker.open:
            self._admit()
        if tokens is None:
            if self._observer.hooks:
                return await self._observed(method, request, timeout, waits)
            return await self._counted(method, request, timeout, waits)
        await tokens.gate.enter()
        try:
            sent = tokens.current()
            request.tokens.extend(sent)
            response = await self._observed(method, request, timeout, waits)
            # The last message of a stream has the token.
            tokens.learn(sent, (response[-1] if method in STREAMS else response).token)
            return response
        finally:
            tokens.gate.leave()

    def _admit(self) -> None:
        if not self._breaker.admits():
            self._observer.count("breaker_skipped")
            raise UnavailableError("the breaker is open: the last calls failed")

    async def _observed(self, method: str, request: Any, timeout: float, waits: bool) -> Response:
        if not self._observer.hooks:
            return await self._counted(method, request, timeout, waits)
        begun = time.perf_counter()
        failure: BaseException | None = None
        try:
            return await self._counted(method, request, timeout, waits)
        except BaseException as error:
            failure = error
            raise
        finally:
            self._observer.call(method, time.perf_counter() - begun, failure)

    async def _counted(self, method: str, request: Any, timeout: float, waits: bool) -> Response:
        metadata = self._metadata.current()
        try:
            if method in STREAMS:
                response: Any = await self._drain(method, request, timeout, metadata)
            else:
                response = await self._io.call(method, request, timeout, metadata)
        except ServiceError as error:
            self._failed(method, error, waits)
            raise
        self._breaker.succeeded()
        return response

    async def _drain(
        self, method: str, request: Message, timeout: float, metadata: CallMetadata
    ) -> list[Response]:
        stream = self._io.stream(method, request, timeout, metadata)
        responses = []
        while (response := await stream.read()) is not None:
            responses.append(response)
        return responses

    def _failed(self, method: str, error: ServiceError, waits: bool) -> None:
        if waits and isinstance(error, DeadlineError):
            return
        self._observer.count("failures")
        log.debug("%s failed: %s", method, error)
        if not isinstance(error, BREAKING) or error.reason == L2_UNAVAILABLE:
            self._breaker.succeeded()
        elif self._breaker.failed():
            self._observer.count("breaker_opened")
            log.warning("the cache is away, one call per second is made: %s", error)
