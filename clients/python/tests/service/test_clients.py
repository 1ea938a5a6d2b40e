from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest
from world import World, until

from twintier import AsyncCache, Cache, Hooks, NearCache, RejectedError, UsageError


def test_reads_and_writes(cache: Cache) -> None:
    assert cache.get("k") is None
    assert cache.get("k", "default") == "default"
    assert cache.set("k", {"a": [1, None]}, ttl="5m", tags=["t"])
    assert cache.get("k") == {"a": [1, None]}
    lookup = cache.lookup("k")
    assert lookup.found
    assert lookup.ttl is not None
    assert 0 < lookup.ttl <= 300
    assert cache.set_absent("gone", ttl="1h")
    assert cache.get("gone", "default") is None
    absent = cache.lookup("gone")
    assert (absent.found, absent.absent) == (False, True)
    assert cache.touch("k", "1h")
    assert not cache.touch("other", "1h")
    many = {f"n:{number}": number for number in range(1200)}
    assert cache.set_many(many) == set(many)
    assert cache.get_many([*many, "other"]) == many


def test_keys_must_be_texts(cache: Cache) -> None:
    for keys in ["abc", [1], [b"a"]]:
        with pytest.raises(UsageError, match="must be a"):
            cache.get_many(keys)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="key must be a str, was None"):
        cache.get(None)  # type: ignore[arg-type]


async def test_a_close_lets_calls_end(async_cache: AsyncCache) -> None:
    await async_cache.set("k", 1)
    calls = [asyncio.create_task(async_cache.get("k", strict=False)) for _ in range(20)]
    await asyncio.sleep(0)
    await async_cache.close("30s")
    assert set(await asyncio.gather(*calls)) <= {1, None}


def test_large_batches_fit_into_messages(cache: Cache) -> None:
    many = {f"large:{number}": "x" * 500_000 for number in range(12)}
    assert cache.set_many(many) == set(many)
    assert cache.get_many(many) == many


def test_a_strict_client_raises_what_the_service_refuses(cache: Cache) -> None:
    with pytest.raises(RejectedError) as refused:
        cache.set("k", 1, ttl="400d")
    assert refused.value.fields == ("ttl",)
    assert refused.value.reason == "INVALID_REQUEST"
    assert not cache.set("k", 1, ttl="400d", strict=False)


def test_a_loader_must_fit_to_the_client(cache: Cache) -> None:
    async def loader() -> int:
        return 1

    with pytest.raises(UsageError, match="use AsyncCache"):
        cache.get_or_set("k", loader)
    with pytest.raises(UsageError, match="loader must be callable"):
        cache.get_or_set("k", 5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot be written as application/json"):
        cache.get_or_set("k", object)
    assert cache.get_or_set("k", lambda: 1) == 1


def test_a_loader_may_load_other_keys_but_not_its_own(cache: Cache) -> None:
    assert cache.get_or_set("a", lambda: cache.get_or_set("b", lambda: 1) + 1) == 2
    with pytest.raises(UsageError, match="must not request the key that it loads"):
        cache.get_or_set("c", lambda: cache.get_or_set("c", lambda: 1))


async def test_a_coroutine_must_not_load_its_own_key(async_cache: AsyncCache) -> None:
    async def inner() -> int:
        return 1

    with pytest.raises(UsageError, match="must not request the key that it loads"):
        await async_cache.get_or_set("c", lambda: async_cache.get_or_set("c", inner))


def test_sessions_cover_the_calls_inside(world: World, namespace: str) -> None:
    with Cache(world.addresses, namespace=namespace, timeout="30s", strict=True) as cache:
        with cache.session() as session:
            for number in range(50):
                cache.set("k", number)
                assert cache.get("k") == number
            text = session.text
        with cache.session(text) as other:
            assert other.get("k") == 49
        assert text
        assert cache._tokens is None


def test_a_cache_without_redis_works(namespace: str) -> None:
    world = World(redis=False)
    try:
        with Cache(world.address, namespace=namespace, timeout="30s", strict=True) as cache:
            assert cache.get_or_set("k", lambda: 1) == 1
            assert cache.get_or_set("k", lambda: 2) == 1
            assert cache.counters.not_stored == 0
    finally:
        world.close()


def test_the_near_cache_answers_and_follows_others(world: World, namespace: str) -> None:
    near = NearCache(max_bytes=1_000_000, max_staleness="30s")
    options: dict[str, Any] = {"namespace": namespace, "timeout": "30s", "strict": True}
    with (
        Cache(world.addresses[0], near_cache=near, **options) as cache,
        Cache(world.addresses[1], **options) as other,
    ):
        other.set("k", 1)

        def near_hit() -> bool:
            before = cache.counters.near_hits
            return cache.get("k") is not None and cache.counters.near_hits > before

        until(near_hit, "a near hit")
        assert cache.get_or_set("k", lambda: 5) == 1
        assert cache.get_many(["k", "other"]) == {"k": 1}
        other.set("k", 2)
        until(lambda: cache.get("k") == 2, "the change of another client")
        until(near_hit, "a near hit")
        cache.set("k", 3)
        assert cache.get("k") == 3
        other.invalidate(all=True)
        until(lambda: cache.get("k") is None, "the invalidation of another client")


def test_a_client_is_used_in_several_event_loops(world: World, namespace: str) -> None:
    cache = AsyncCache(
        world.address, namespace=namespace, timeout="30s", strict=True, near_cache=NearCache()
    )

    async def use(number: int) -> Any:
        assert await cache.set("k", number)
        return await asyncio.gather(*(cache.get_or_set("k", lambda: 0) for _ in range(3)))

    for number in range(3):
        assert asyncio.run(use(number)) == [number] * 3

    async def close() -> None:
        await cache.set("k", 9)
        assert cache.set_later("later", 1)
        assert await cache.close("30s")
        assert await cache.get("k") is None

    with pytest.raises(Exception, match="the client is closed"):
        asyncio.run(close())


def test_hooks_receive_events(world: World, namespace: str) -> None:
    events: list[tuple[Any, ...]] = []

    class Recorder(Hooks):
        def on_hit(self, key: str, *, near: bool, stale: bool) -> None:
            events.append(("hit", key, near, stale))

        def on_miss(self, key: str) -> None:
            events.append(("miss", key))

        def on_negative_hit(self, key: str) -> None:
            events.append(("negative", key))

        def on_load(
            self, key: str, seconds: float, error: BaseException | None, *, background: bool
        ) -> None:
            events.append(("load", key, seconds >= 0, error, background))

        def on_call(self, method: str, seconds: float, error: BaseException | None) -> None:
            events.append(("call", method, seconds >= 0, error))

    with Cache(world.address, namespace=namespace, timeout="30s", hooks=Recorder()) as cache:
        cache.get_or_set("k", lambda: 1)
        cache.get("k")
        cache.set_absent("a")
        cache.get("a")
    assert [event for event in events if event[0] != "call"] == [
        ("miss", "k"),
        ("load", "k", True, None, False),
        ("hit", "k", False, False),
        ("negative", "a"),
    ]
    assert [event[1] for event in events if event[0] == "call"] == [
        "Get",
        "Set",
        "Get",
        "Set",
        "Get",
    ]


def test_background_writes_survive_the_end_of_the_program(world: World, namespace: str) -> None:
    program = (
        "import twintier\n"
        f"cache = twintier.Cache({world.address!r}, namespace={namespace!r}, timeout='30s')\n"
        "for number in range(20):\n"
        "    cache.set_later(f'k{number}', number)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with Cache(world.address, namespace=namespace, timeout="30s", strict=True) as cache:
        assert len(cache.get_many(f"k{number}" for number in range(20))) == 20


def test_a_process_may_fork_before_the_first_call(world: World, namespace: str) -> None:
    program = (
        "import os, twintier\n"
        f"cache = twintier.Cache({world.address!r}, namespace={namespace!r}, timeout='30s',\n"
        "    strict=True)\n"
        "child = os.fork()\n"
        "cache.set(f'k{child}', 1)\n"
        "assert cache.get(f'k{child}') == 1\n"
        "assert not child or os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, "twintier"),
        Cache("127.0.0.1:1", timeout="50ms") as cache,
    ):
        for _ in range(20):
            assert cache.get_or_set("k", lambda: 1) == 1
        counters = cache.counters
    assert counters.breaker_opened == 1
    assert counters.failures + counters.breaker_skipped == 20
    assert counters.loads == counters.misses == 20
    assert counters.not_stored == 0
    assert [record.getMessage()[:17] for record in caplog.records] == ["the cache is away"]
