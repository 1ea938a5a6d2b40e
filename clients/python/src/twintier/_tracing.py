"""The trace context of OpenTelemetry as metadata. Needs `opentelemetry-api`."""

from __future__ import annotations

from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Setter


class _Append(Setter[list[tuple[str, str]]]):
    def set(self, carrier: list[tuple[str, str]], key: str, value: str) -> None:
        carrier.append((key.lower(), value))


_append = _Append()


def inject(metadata: list[tuple[str, str]]) -> None:
    """Adds the context of the current span to `metadata`."""
    span = trace.get_current_span()
    if span is not trace.INVALID_SPAN and span.get_span_context().is_valid:
        propagate.inject(metadata, setter=_append)
