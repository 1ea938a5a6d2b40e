from __future__ import annotations

import grpc
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from world import World

from twintier import AsyncCache, Cache
from twintier.asgi import HEADER, SessionMiddleware
from twintier.opentelemetry import instrument
from twintier.v1 import cache_pb2 as pb
from twintier.v1 import cache_pb2_grpc


@pytest.fixture
def app(world: World, namespace: str) -> FastAPI:
    cache = AsyncCache(world.addresses, namespace=namespace, timeout="30s", strict=True)
    app = FastAPI()
    app.add_middleware(SessionMiddleware, cache=cache)

    @app.put("/cart/{item}")
    async def put(item: int) -> bool:
        return await cache.set("cart", item)

    @app.get("/cart")
    async def get() -> int | None:
        item: int | None = await cache.get("cart")
        return item

    @app.get("/nothing")
    async def nothing() -> None: ...

    return app


def test_a_session_follows_requests(app: FastAPI) -> None:
    with TestClient(app) as client:
        headers: dict[str, str] = {}
        for item in range(30):
            written = client.put(f"/cart/{item}", headers=headers)
            assert written.json() is True
            read = client.get("/cart", headers={HEADER: written.headers[HEADER]})
            assert read.json() == item
            headers = {HEADER: read.headers[HEADER]}
        assert client.get("/nothing", headers=headers).headers[HEADER] == headers[HEADER]
        assert HEADER not in client.get("/nothing").headers


def test_a_wrong_session_is_ignored(app: FastAPI) -> None:
    with TestClient(app) as client:
        assert client.put("/cart/1", headers={HEADER: "a b"}).json() is True


def test_metrics_of_opentelemetry(world: World, namespace: str) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    with Cache(world.address, namespace=namespace, timeout="30s") as cache:
        instrument(cache, name="shop", meter_provider=provider)
        cache.get_or_set("k", lambda: 1)
        cache.get("k")
        data = reader.get_metrics_data()
        provider.shutdown()
    assert data is not None
    metrics = {
        metric.name: metric.data.data_points
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert metrics["twintier.client.hits"][0].value == 1  # type: ignore[union-attr]
    assert metrics["twintier.client.hits"][0].attributes == {"client": "shop"}
    assert metrics["twintier.client.loads"][0].value == 1  # type: ignore[union-attr]
    calls = metrics["twintier.client.call.duration"]
    assert {point.attributes["rpc.method"]: point.count for point in calls} == {"Get": 2, "Set": 1}  # type: ignore[union-attr,index]
    assert metrics["twintier.client.load.duration"][0].count == 1  # type: ignore[union-attr]


class Recorder(cache_pb2_grpc.CacheServiceServicer):
    """Answers as the service does when it has nothing, and keeps the metadata of calls."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str]] = []

    def Get(self, request: pb.GetRequest, context: grpc.ServicerContext) -> pb.GetResponse:  # noqa: N802
        self.metadata.append(dict(context.invocation_metadata()))
        return pb.GetResponse()


def test_the_trace_context_travels() -> None:
    from concurrent.futures import ThreadPoolExecutor

    recorder = Recorder()
    server = grpc.server(ThreadPoolExecutor(1))
    cache_pb2_grpc.add_CacheServiceServicer_to_server(recorder, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    tracer = TracerProvider().get_tracer("tests")
    try:
        with Cache(
            f"127.0.0.1:{port}", timeout="30s", strict=True, metadata=lambda: [("x-own", "1")]
        ) as cache:
            with tracer.start_as_current_span("request") as span:
                cache.get("k")
            cache.get("k")
    finally:
        server.stop(None).wait()
    first, second = recorder.metadata
    assert first["traceparent"].split("-")[1] == trace.format_trace_id(
        span.get_span_context().trace_id
    )
    assert first["x-own"] == second["x-own"] == "1"
    assert "traceparent" not in second
