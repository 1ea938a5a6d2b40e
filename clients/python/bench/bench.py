"""Measures the CPU time of the library beside that of the bare stub, in one run.

Prints a table. With --check the exit code is 1 if a ratio is beyond its bound. Needs the program
that TWINTIER names, and redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from world import World, until

from twintier import AsyncCache, Cache, NearCache
from twintier.v1 import cache_pb2 as pb
from twintier.v1.cache_pb2_grpc import CacheServiceStub

VALUE = {"id": 42, "name": "Ada", "tags": ["a", "b"]}
KEY = "user:42"
TRIES = 3
"""Measurements of a check: on a busy machine all code runs with cold caches for a while."""


@dataclass
class Row:
    """A measured operation."""

    name: str
    run: Callable[[int], float]
    """Returns the CPU time of so many operations, in seconds."""
    calls: int
    base: str = ""
    bound: float = 0.0
    """The largest ratio to `base`; if `cheaper`, the smallest ratio of `base` to it."""
    cheaper: bool = False
    rounds: list[float] = field(default_factory=list)
    """CPU time of an operation in each round, in µs."""


def cpu(operation: Callable[[], Any]) -> Callable[[int], float]:
    """Measures a blocking operation."""

    def run(calls: int) -> float:
        begun = time.process_time()
        for _ in range(calls):
            operation()
        return time.process_time() - begun

    return run


def cpu_async(
    loop: asyncio.AbstractEventLoop, operation: Callable[[], Any]
) -> Callable[[int], float]:
    """Measures a coroutine function."""

    async def measured(calls: int) -> float:
        begun = time.process_time()
        for _ in range(calls):
            await operation()
        return time.process_time() - begun

    return lambda calls: loop.run_until_complete(measured(calls))


def measure(rows: list[Row], rounds: int) -> None:
    """Measures all rows in turn, so that changes of the machine's speed meet all of them."""
    for row in rows:
        row.rounds.clear()
    for number in range(rounds + 1):
        for row in rows:
            spent = row.run(row.calls) / row.calls * 1e6
            if number:
                row.rounds.append(spent)


def show(rows: list[Row]) -> list[str]:
    """Prints the table, and returns what is beyond its bound."""
    by_name = {row.name: row for row in rows}
    beyond = []
    print(f"{'operation':28} {'CPU µs':>8}  {'beside':24} {'ratio':>7}  bound")
    for row in rows:
        line = f"{row.name:28} {statistics.median(row.rounds):8.1f}"
        if row.base:
            pairs = zip(by_name[row.base].rounds, row.rounds, strict=True)
            # Of each round, so that a change of the machine's speed meets both.
            ratio = statistics.median(a / b if row.cheaper else b / a for a, b in pairs)
            good = ratio >= row.bound if row.cheaper else ratio <= row.bound
            sign = "≥" if row.cheaper else "≤"
            line += f"  {row.base:24} {ratio:7.2f}  {sign} {row.bound}"
            if not good:
                beyond.append(row.name)
                line += "  BEYOND"
        print(line)
    return beyond


def rows_of(address: str, loop: asyncio.AbstractEventLoop, calls: int) -> list[Row]:
    """Returns the operations."""
    options: Any = {"timeout": "30s", "strict": True}
    channel = grpc.insecure_channel(address)
    stub = CacheServiceStub(channel)  # type: ignore[no-untyped-call]
    cache = Cache(address, **options)
    near = Cache(address, near_cache=NearCache(max_staleness="5m"), **options)
    cache.set(KEY, VALUE, ttl="1h")

    @cache.cached(key="user:{user_id}")
    def user(user_id: int) -> Any:
        raise AssertionError(user_id)

    def near_hit() -> bool:
        before = near.counters.near_hits
        return near.get(KEY) == VALUE and near.counters.near_hits > before

    until(near_hit, "the near cache")

    async def connect() -> tuple[Any, AsyncCache]:
        stub = CacheServiceStub(grpc.aio.insecure_channel(address))  # type: ignore[no-untyped-call]
        return stub, AsyncCache(address, **options)

    aio_stub, aio = loop.run_until_complete(connect())

    def load() -> Any:
        raise AssertionError

    return [
        Row("stub Get", cpu(lambda: stub.Get(pb.GetRequest(key=KEY), timeout=30)), calls),
        Row("get", cpu(lambda: cache.get(KEY)), calls, "stub Get", 1.3),
        Row("get_or_set, hit", cpu(lambda: cache.get_or_set(KEY, load)), calls, "stub Get", 1.5),
        Row("decorated function, hit", cpu(lambda: user(42)), calls, "stub Get", 1.6),
        Row("near cache, hit", cpu(lambda: near.get(KEY)), calls * 20, "stub Get", 20, True),
        Row(
            "stub Get, asyncio",
            cpu_async(loop, lambda: aio_stub.Get(pb.GetRequest(key=KEY), timeout=30)),
            calls,
        ),
        Row("get, asyncio", cpu_async(loop, lambda: aio.get(KEY)), calls, "stub Get, asyncio", 1.3),
        Row(
            "get_or_set, hit, asyncio",
            cpu_async(loop, lambda: aio.get_or_set(KEY, load)),
            calls,
            "stub Get, asyncio",
            1.5,
        ),
    ]


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a ratio is beyond its bound")
    parser.add_argument("--calls", type=int, default=300, help="calls of a round (300)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds, of which the median counts")
    arguments = parser.parse_args()
    world = World()
    loop = asyncio.new_event_loop()
    try:
        rows = rows_of(world.address, loop, arguments.calls)
        for _ in range(TRIES if arguments.check else 1):
            measure(rows, arguments.rounds)
            beyond = show(rows)
            if not beyond:
                break
    finally:
        loop.close()
        world.close()
    if arguments.check and beyond:
        print(f"beyond the bound: {', '.join(beyond)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
