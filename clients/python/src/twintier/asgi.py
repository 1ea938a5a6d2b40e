"""A session for each request of an ASGI application, such as one of FastAPI or Starlette."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from twintier._async import AsyncCache, AsyncSession
from twintier._errors import UsageError
from twintier._observer import log
from twintier._sync import Cache, Session

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = "Twintier-Session"
"""The header of requests and responses that carries a session."""
_NAME = HEADER.lower().encode()


class SessionMiddleware:
    """Begins a session with each request, and returns it with the response.

    A request may carry the session of an earlier response in the header `Twintier-Session`: its
    handler then sees all that the caller has seen and written, at any replica.

    `app.add_middleware(SessionMiddleware, cache=cache)`
    """

    def __init__(self, app: App, cache: AsyncCache | Cache) -> None:
        self._app = app
        self._cache = cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        session = self._session(scope)

        async def send_with_session(message: Message) -> None:
            if message["type"] == "http.response.start" and session.text:
                headers = [*message.get("headers", ()), (_NAME, session.text.encode())]
                message = {**message, "headers": headers}
            await send(message)

        session._enter()
        try:
            await self._app(scope, receive, send_with_session)
        finally:
            session._exit()

    def _session(self, scope: Scope) -> Session | AsyncSession:
        text = next((value for name, value in scope["headers"] if name == _NAME), b"")
        try:
            return self._cache.session(text.decode("latin-1"))
        except UsageError as error:
            # The header is the input of a stranger.
            log.info("header %s is ignored: %s", HEADER, error)
            return self._cache.session()
