"""The runner of the conformance suite: clients/conformance/README.md has its protocol.

`--sync` carries out the operations with `Cache` in threads, instead of `AsyncCache`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from loaders import LoadError, Loaders, bytes_of

from twintier import (
    AsyncCache,
    Cache,
    NearCache,
    Template,
    TwintierError,
    UnreadableError,
    argument_key,
)
from twintier._blocking import complete
from twintier._operations import Operations
from twintier._serializers import decode, encode, serializer

SYNC = "--sync" in sys.argv
THREADS = 256
Answer = dict[str, Any]


class UnsupportedError(Exception):
    """An operation or argument that the runner does not know."""


def to_json(value: Any) -> Any:
    """Returns a value for the protocol."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list) else value


class Runner:
    """Carries out operations, each in a task of its own."""

    def __init__(self) -> None:
        self.clients: dict[str, Any] = {}
        self.sessions: dict[str, Any] = {}
        self.loaders = Loaders(blocking=SYNC)
        self.calls: dict[int, asyncio.Task[None]] = {}
        self.threads = ThreadPoolExecutor(THREADS)

    async def run(self) -> None:
        """Reads requests until the input ends."""
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            request = json.loads(line)
            call = asyncio.create_task(self.answer(request))
            self.calls[request["id"]] = call
            call.add_done_callback(lambda _, number=request["id"]: self.calls.pop(number, None))

    async def answer(self, request: Answer) -> None:
        """Carries out one request and writes its answer."""
        number, operation = request.pop("id"), request.pop("op")
        answer: Answer
        try:
            method = getattr(self, f"op_{operation}", None)
            if method is None:
                raise UnsupportedError(operation)
            answer = {"result": to_json(await method(**request))}
        except asyncio.CancelledError:
            answer = {"error": {"kind": "cancelled", "message": ""}}
        except Exception as error:
            answer = {"error": {"kind": kind(error), "message": str(error)}}
        print(json.dumps({"id": number, **answer}), flush=True)

    async def do(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Calls a method of the library: awaits it, or runs it in a thread."""
        if SYNC:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.threads, lambda: method(*args, **options))
        return await method(*args, **options)

    def target(self, client: str | None = None, session: str | None = None) -> Operations:
        """Returns the client or session of an operation."""
        found: Operations = self.sessions[session] if session else self.clients[client or ""]
        return found

    async def op_client(
        self, client: str, addresses: list[str], options: Answer | None = None
    ) -> Answer:
        options = dict(options or {})
        if options.get("near_cache"):
            options["near_cache"] = NearCache(**options["near_cache"])
        self.clients[client] = (Cache if SYNC else AsyncCache)(addresses, **options)
        return {}

    async def op_close(self, client: str, drain: str = "5s") -> Answer:
        return {"drained": await self.do(self.clients[client].close, drain)}

    async def op_session(self, client: str, session: str, text: str = "") -> Answer:
        self.sessions[session] = self.clients[client].session(text)
        return {}

    async def op_session_text(self, session: str) -> Answer:
        return {"text": self.sessions[session].text}

    async def op_get(self, key: str, options: Answer | None = None, **target: str) -> Answer:
        lookup = await self.do(self.target(**target).lookup, key, **options or {})
        if lookup.absent:
            return {"absent": True}
        if not lookup.found:
            return {"found": False}
        return {"found": True, "value": lookup.value, "stale": lookup.stale}

    async def op_get_many(
        self, keys: list[str], options: Answer | None = None, **target: str
    ) -> Answer:
        return {"values": await self.do(self.target(**target).get_many, keys, **options or {})}

    async def op_set(
        self, key: str, value: Any, options: Answer | None = None, **target: str
    ) -> Answer:
        stored = await self.do(self.target(**target).set, key, bytes_of(value), **options or {})
        return {"stored": stored}

    async def op_set_many(
        self, values: Answer, options: Answer | None = None, **target: str
    ) -> Answer:
        values = {key: bytes_of(value) for key, value in values.items()}
        stored = await self.do(self.target(**target).set_many, values, **options or {})
        return {"stored": sorted(stored)}

    async def op_set_absent(self, key: str, options: Answer | None = None, **target: str) -> Answer:
        return {"stored": await self.do(self.target(**target).set_absent, key, **options or {})}

    async def op_touch(
        self, key: str, ttl: str, options: Answer | None = None, **target: str
    ) -> Answer:
        return {"touched": await self.do(self.target(**target).touch, key, ttl, **options or {})}

    async def op_invalidate(
        self,
        options: Answer | None = None,
        client: str | None = None,
        session: str | None = None,
        **selector: Any,
    ) -> Answer:
        target = self.target(client, session)
        return {"done": await self.do(target.invalidate, **selector, **options or {})}

    async def op_get_or_set(
        self, key: str, loader: Answer, options: Answer | None = None, **target: str
    ) -> Answer:
        # As `get_or_set` does, which returns `None` for "absent" and for null.
        operations = self.target(**target)
        resolved = operations._options(options or {})
        lookup = operations._near(key, resolved)
        if lookup is None:
            load = operations._load(key, self.loaders.loader(loader), resolved)
            load = replace(load, none_is_absent=loader.get("absent", False))
            lookup = await self.do((lambda: complete(load.result())) if SYNC else load.result)
        return {"absent": True} if lookup.absent else {"value": lookup.value}

    async def op_get_or_set_many_callers(
        self,
        key: str,
        loader: Answer,
        callers: int,
        options: Answer | None = None,
        **target: str,
    ) -> Answer:
        method = self.target(**target).get_or_set
        load = self.loaders.loader(loader)
        calls = [self.do(method, key, load, **options or {}) for _ in range(callers)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        values = [answer for answer in answers if not isinstance(answer, BaseException)]
        distinct = {json.dumps(to_json(value), sort_keys=True) for value in values}
        return {
            "values": [json.loads(value) for value in sorted(distinct)],
            "errors": len(answers) - len(values),
        }

    async def op_set_later(
        self, key: str, value: Any, options: Answer | None = None, **target: str
    ) -> Answer:
        queued = self.target(**target).set_later(key, bytes_of(value), **options or {})
        return {"queued": queued}

    async def op_invalidate_later(
        self, keys: list[str], options: Answer | None = None, **target: str
    ) -> Answer:
        return {"queued": self.target(**target).invalidate_later(keys, **options or {})}

    async def op_cancel(self, call: int) -> Answer:
        if call in self.calls:
            self.calls[call].cancel()
        return {}

    async def op_open(self, gate: str) -> Answer:
        self.loaders.open(gate)
        return {}

    async def op_loads(self, loader: str) -> Answer:
        return self.loaders.counts(loader)

    async def op_counters(self, client: str) -> Answer:
        return asdict(self.clients[client].counters)

    async def op_key(self, template: str, values: Answer) -> Answer:
        return {"key": Template(template).format(values)}

    async def op_argument_key(self, prefix: str, arguments: Any) -> Answer:
        return {"key": argument_key(prefix, arguments)}

    async def op_encode(self, serializer: str, value: Any) -> Answer:
        chosen = self.serializer(serializer)
        data = encode(chosen, "", bytes_of(value))
        return {"bytes": base64.b64encode(data).decode(), "content_type": chosen.content_type}

    async def op_decode(self, serializer: str, bytes: str, content_type: str) -> Answer:
        chosen = self.serializer(serializer)
        return {"value": decode(chosen, base64.b64decode(bytes), content_type)}

    serializer = staticmethod(serializer)


def kind(error: Exception) -> str:
    """Returns the kind of an error."""
    if isinstance(error, LoadError):
        return "loader"
    if isinstance(error, UnsupportedError):
        return "unsupported"
    if isinstance(error, UnreadableError):
        return "unreadable"
    if isinstance(error, TwintierError):
        return error.kind
    return "unsupported" if isinstance(error, TypeError) else "unexpected"


if __name__ == "__main__":
    asyncio.run(Runner().run())
