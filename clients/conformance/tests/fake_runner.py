"""A runner without a library: right in what a few scenarios need, and wrong in one way if told so.

`fake_runner.py [MUTANT]`: the tests of the harness expect it to report each mutant.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

sys.path.append(str(Path(__file__).resolve().parents[3] / "proto"))
protos, services = grpc.protos_and_services("twintier/v1/cache.proto")

MISS_REASON_LEASED = 5
MUTANT = sys.argv[1] if len(sys.argv) > 1 else ""
COUNTERS = [
    "hits",
    "near_hits",
    "negative_hits",
    "misses",
    "stale",
    "loads",
    "load_failures",
    "refreshes",
    "shared",
    "failures",
    "breaker_opened",
    "breaker_skipped",
    "not_stored",
    "unreadable",
    "later_dropped",
]


class LoaderError(Exception):
    """The error of a loader."""


class Client:
    """Enough of a client for a few scenarios."""

    def __init__(self, addresses: list[str], options: dict[str, Any]) -> None:
        channel_options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 100)]
        self.stub = services.CacheServiceStub(grpc.aio.insecure_channel(addresses[0], channel_options))
        self.namespace = options["namespace"]
        unit = 0.001 if options["timeout"].endswith("ms") else 1
        self.timeout = float(options["timeout"].rstrip("ms")) * unit
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.flights: dict[str, asyncio.Task[Any]] = {}

    async def call(self, method: str, **fields: Any) -> Any:
        """Calls the service. Returns `None` if that failed: fail open."""
        request = getattr(protos, f"{method}Request")(namespace=self.namespace, **fields)
        try:
            return await getattr(self.stub, method)(request, timeout=self.timeout)
        except grpc.aio.AioRpcError:
            self.counters["failures"] += 1
            if MUTANT == "fails-closed":
                raise
            return None

    async def get(self, key: str, **fields: Any) -> dict[str, Any]:
        return self.read(await self.call("Get", key=key, **fields))

    def read(self, answer: Any) -> dict[str, Any]:
        if answer is None or not answer.HasField("hit"):
            self.counters["misses"] += 1
            return {"found": False}
        self.counters["hits"] += 1
        return {"found": True, "value": json.loads(answer.hit.value), "stale": False}

    async def set(self, key: str, value: Any, **fields: Any) -> dict[str, Any]:
        data = json.dumps(value, separators=(",", ":")).encode()
        if MUTANT != "no-content-type":
            fields["content_type"] = "application/json"
        answer = await self.call("Set", key=key, value=data, **fields)
        stored = answer is not None and answer.outcome == 1
        self.counters["not_stored"] += not stored
        return {"stored": stored}

    async def get_or_set(self, key: str, loader: "Loader", options: dict[str, Any]) -> dict[str, Any]:
        task = self.flights.get(key)
        if task is None or MUTANT == "no-single-flight":
            task = asyncio.ensure_future(self.load(key, loader, options))
            self.flights[key] = task
            task.add_done_callback(lambda _: self.flights.pop(key, None))
        else:
            self.counters["shared"] += 1
        return await (task if MUTANT == "cancels-others" else asyncio.shield(task))

    async def load(self, key: str, loader: "Loader", options: dict[str, Any]) -> dict[str, Any]:
        lease: dict[str, Any] = {"wait": 2}
        if options.get("lease_duration") == "5m":
            lease["duration"] = {"seconds": 300}
        answer = await self.call("Get", key=key, lease=lease)
        if answer is not None and answer.miss.reason == MISS_REASON_LEASED and MUTANT != "does-not-wait":
            answer = await self.call("Get", key=key, lease={})
        found = self.read(answer)
        if found["found"] and MUTANT != "always-loads":
            return {"value": found["value"]}
        held = answer.lease.id if answer is not None else ""
        self.counters["loads"] += 1
        try:
            value = await loader.run()
        except LoaderError:
            self.counters["load_failures"] += 1
            if held and MUTANT != "keeps-lease":
                await self.call("ReleaseLease", key=key, lease=held, failed=True)
            raise
        fields: dict[str, Any] = {"tags": options.get("tags", [])}
        if options.get("ttl") == "5m":
            fields["ttl"] = {"seconds": 300}
        if held:
            await self.set(key, value, **fields, **({} if MUTANT == "no-fence" else {"lease": held}))
        return {"value": value}


class Loader:
    """A loader, with the counts and gates of its runner."""

    def __init__(self, runner: "Runner", spec: dict[str, Any]) -> None:
        self.runner, self.spec = runner, spec

    async def run(self) -> Any:
        counts = self.runner.loads(self.spec["name"])
        counts["started"] += 1
        try:
            if "gate" in self.spec:
                await self.runner.gate(self.spec["gate"]).wait()
            if "error" in self.spec:
                raise LoaderError(self.spec["error"])
            return self.spec["value"]
        finally:
            counts["ended"] += 1


class Runner:
    """Carries out operations, each in a task of its own."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.tasks: dict[int, asyncio.Task[Any]] = {}

    def loads(self, name: str) -> dict[str, int]:
        return self.counts.setdefault(name, {"started": 0, "ended": 0})

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())

    async def answer(self, request: dict[str, Any]) -> None:
        try:
            reply = {"result": await self.perform(request)}
        except LoaderError as error:
            reply = {"error": {"kind": "loader", "message": str(error)}}
        except asyncio.CancelledError:
            reply = {"error": {"kind": "cancelled", "message": "cancelled"}}
        except grpc.aio.AioRpcError as error:
            reply = {"error": {"kind": "unavailable", "message": str(error.details())}}
        except NotImplementedError as error:
            reply = {"error": {"kind": "unsupported", "message": str(error)}}
        print(json.dumps({"id": request["id"], **reply}), flush=True)

    async def perform(self, request: dict[str, Any]) -> dict[str, Any]:
        op = request["op"]
        if MUTANT == "crashes" and op == "get":
            sys.exit(4)
        if op == "client":
            self.clients[request["client"]] = Client(request["addresses"], request["options"])
            return {}
        if op == "cancel":
            self.tasks[request["call"]].cancel()
            return {}
        if op == "open":
            self.gate(request["gate"]).set()
            return {}
        if op == "loads":
            return dict(self.loads(request["loader"]))
        return await self.perform_with_client(op, request, self.clients[request["client"]])

    async def perform_with_client(self, op: str, request: dict[str, Any], client: Client) -> dict[str, Any]:
        if op == "close":
            return {"drained": True}
        if op == "counters":
            return dict(client.counters)
        if op == "invalidate":
            await client.call("Invalidate", tags={"tags": request["tags"]})
            return {"done": True}
        if op == "get":
            return await client.get(request["key"])
        if op == "set":
            return await client.set(request["key"], request["value"])
        if op == "get_or_set":
            return await client.get_or_set(request["key"], Loader(self, request["loader"]), request.get("options", {}))
        if op == "get_or_set_many_callers":
            return await self.many_callers(request, client)
        raise NotImplementedError(op)

    async def many_callers(self, request: dict[str, Any], client: Client) -> dict[str, Any]:
        loader = Loader(self, request["loader"])
        options = request.get("options", {})
        calls = [client.get_or_set(request["key"], loader, options) for _ in range(request["callers"])]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        texts = {json.dumps(answer["value"]) for answer in answers if isinstance(answer, dict)}
        errors = sum(isinstance(answer, LoaderError) for answer in answers)
        return {"values": [json.loads(text) for text in sorted(texts)], "errors": errors}

    async def serve(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            request = json.loads(line)
            self.tasks[request["id"]] = asyncio.ensure_future(self.answer(request))


if __name__ == "__main__":
    asyncio.run(Runner().serve())
