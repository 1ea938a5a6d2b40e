"""Metrics for OpenTelemetry. Needs the extra `twintier[opentelemetry]`.

| name | kind | attributes |
|---|---|---|
| `twintier.client.hits`, `.misses` and all other `twintier.Counters` | counter | `client` |
| `twintier.client.call.duration` | histogram, seconds | `client`, `rpc.method`, `error.type` |
| `twintier.client.load.duration` | histogram, seconds | `client`, `background`, `error.type` |
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Observation

from twintier._errors import TwintierError
from twintier._observer import Counters, Hooks, Observer
from twintier._operations import Operations

PREFIX = "twintier.client"
_BOUNDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def instrument(
    cache: Operations, *, name: str = "", meter_provider: metrics.MeterProvider | None = None
) -> None:
    """Exports the metrics of a `Cache` or `AsyncCache`.

    `name` is the attribute `client`, for programs with several of them.
    """
    meter = metrics.get_meter("twintier", meter_provider=meter_provider)
    observer = cache._core.observer
    attributes = {"client": name} if name else {}
    for field in fields(Counters):
        meter.create_observable_counter(
            f"{PREFIX}.{field.name}", [_callback(observer, field.name, attributes)], unit="1"
        )
    observer.hooks = (*observer.hooks, _Durations(meter, attributes))


def _callback(
    observer: Observer, name: str, attributes: dict[str, str]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    # The meter keeps its callbacks, which must not keep the client.
    reference = weakref.ref(observer)

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        target = reference()
        if target is not None:
            yield Observation(getattr(target.counters(), name), attributes)

    return observe


class _Durations(Hooks):
    def __init__(self, meter: metrics.Meter, attributes: dict[str, str]) -> None:
        self._attributes = attributes
        self._calls = self._histogram(meter, "call")
        self._loads = self._histogram(meter, "load")

    def _histogram(self, meter: metrics.Meter, of: str) -> Histogram:
        return meter.create_histogram(
            f"{PREFIX}.{of}.duration",
            unit="s",
            explicit_bucket_boundaries_advisory=_BOUNDS,
        )

    def on_call(self, method: str, seconds: float, error: BaseException | None) -> None:
        self._calls.record(seconds, {**self._attributes, "rpc.method": method, **_error(error)})

    def on_load(
        self, key: str, seconds: float, error: BaseException | None, *, background: bool
    ) -> None:
        attributes = {**self._attributes, "background": background, **_error(error)}
        self._loads.record(seconds, attributes)


def _error(error: BaseException | None) -> dict[str, Any]:
    if error is None:
        return {}
    kind = error.kind if isinstance(error, TwintierError) else type(error).__name__
    return {"error.type": kind}
