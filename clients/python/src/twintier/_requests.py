"""Requests of the service, made from resolved options."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, TypeVar

from twintier._duration import wire
from twintier._options import Options
from twintier.v1 import cache_pb2 as pb

MAX_KEYS = 500
"""Keys of one request; the service's default limit is 1000."""
MAX_BYTES = 2 * 1024 * 1024
"""Bytes of values in one request, unless a single one is larger."""

K = TypeVar("K")
KeySet: TypeAlias = "set[str]"
IF_ABSENT = pb.IfAbsent()
ABSENT: Any = object()
"""In place of bytes: the thing is known not to exist."""


def get(key: str, options: Options, **more: Any) -> pb.GetRequest:
    """Returns a Get."""
    return pb.GetRequest(
        namespace=options.namespace,
        key=key,
        consistency=options.consistency,
        max_staleness=wire(options.max_staleness),
        **more,
    )


def lease(options: Options, *, wait: bool) -> pb.LeaseOptions:
    """Returns the request for a lease."""
    return pb.LeaseOptions(
        duration=wire(options.lease_duration),
        wait=pb.LEASE_WAIT_UNTIL_DEADLINE if wait else pb.LEASE_WAIT_NONE,
    )


def write(
    key: str, data: Any, content_type: str, options: Options, namespace: str, **condition: Any
) -> pb.SetRequest:
    """Returns a Set of `data`: bytes, or `ABSENT`."""
    absent = data is ABSENT
    if condition and "lease" not in condition:
        # A repeated conditional Set could otherwise report its own first effect.
        condition["request_id"] = uuid.uuid4().hex
    ttl, soft_ttl = options.ttl, options.soft_ttl
    if absent:
        ttl, soft_ttl = options.negative_ttl, None
    return pb.SetRequest(
        namespace=namespace,
        key=key,
        value=None if absent else data,
        known_absent=pb.KnownAbsent() if absent else None,
        content_type="" if absent else content_type,
        ttl=wire(ttl),
        no_expiry=pb.NoExpiry() if options.no_expiry else None,
        soft_ttl=wire(soft_ttl),
        tags=options.tags,
        source_version=options.source_version,
        jitter=options.jitter,
        **condition,
    )


def batches(items: Iterable[tuple[K, int]]) -> Iterator[list[K]]:
    """Divides items, given with their sizes, into batches that the service accepts."""
    batch: list[K] = []
    size = 0
    for item, item_size in items:
        if batch and (len(batch) >= MAX_KEYS or size + item_size > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item_size
    if batch:
        yield batch
