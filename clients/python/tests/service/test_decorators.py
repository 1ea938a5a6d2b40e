from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from twintier import AsyncCache, Cache


def test_a_decorated_function(cache: Cache) -> None:
    calls: list[int] = []

    @cache.cached(ttl="5m", key="user:{user_id}", tags=["user:{user_id}", "users"])
    def user(user_id: int) -> dict[str, int] | None:
        calls.append(user_id)
        return {"id": user_id, "call": len(calls)} if user_id > 0 else None

    assert user(1) == user(1) == {"id": 1, "call": 1}
    assert user(user_id=2) == {"id": 2, "call": 2}
    assert cache.get("user:1") == {"id": 1, "call": 1}
    assert user.uncached(1) == {"id": 1, "call": 3}
    assert user.refresh(1) == {"id": 1, "call": 4}
    assert user(1) == {"id": 1, "call": 4}
    assert user.invalidate(1)
    assert user(1) == {"id": 1, "call": 5}
    assert cache.invalidate(tags="user:1")
    assert user(1) == {"id": 1, "call": 6}
    assert user(2) == {"id": 2, "call": 2}
    assert user(0) is user(0) is None
    assert calls == [1, 2, 1, 1, 1, 1, 0]
    assert cache.lookup("user:0").absent


def test_decorated_methods(cache: Cache) -> None:
    class Shop:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        @cache.cached(key="price:{item}")
        def price(self, item: int) -> int:
            return item * self.factor

        @cache.invalidates("price:{item}")
        def change(self, item: int) -> str:
            return f"changed {item}"

        @classmethod
        @cache.cached(key="class:{item}")
        def of_class(cls, item: int) -> str:
            return f"{cls.__name__} {item}"

        @staticmethod
        @cache.cached(key="static:{item}")
        def of_none(item: int) -> int:
            return item

    shop = Shop(2)
    assert shop.price(3) == Shop(5).price(3) == 6
    assert shop.price.key(3) == "price:3"
    assert shop.change(3) == "changed 3"
    shop.factor = 7
    assert shop.price(3) == 21
    assert Shop.price(shop, 3) == 21
    assert shop.price.refresh(3) == 21
    assert Shop.of_class(1) == shop.of_class(1) == "Shop 1"
    assert Shop.of_none(4) == 4


def test_invalidates_by_each_selector(cache: Cache) -> None:
    def fill() -> None:
        cache.set("a:1:x", 1, tags="t:1")
        cache.set("a:1:y", 1)
        cache.set("b", 1)

    def left() -> set[str]:
        return set(cache.get_many(["a:1:x", "a:1:y", "b"]))

    expected: list[tuple[dict[str, Any], set[str]]] = [
        ({"keys": ["a:{n}:x", "b"]}, {"a:1:y"}),
        ({"tags": "t:{n}"}, {"a:1:y", "b"}),
        ({"prefix": "a:{n}"}, {"b"}),
        ({"pattern": "a:{n}:*"}, {"b"}),
        ({"all": True}, set()),
        ({"keys": "b", "tags": "t:{n}"}, {"a:1:y"}),
    ]
    for selector, remaining in expected:

        @cache.invalidates(**selector)
        def change(n: int) -> int:
            return n

        fill()
        assert change(1) == 1
        assert left() == remaining


def test_a_function_that_fails_invalidates_nothing(cache: Cache) -> None:
    @cache.invalidates("k")
    def change() -> None:
        raise LookupError("no")

    cache.set("k", 1)
    with pytest.raises(LookupError, match="no"):
        change()
    assert cache.get("k") == 1


async def test_decorated_coroutine_functions(async_cache: AsyncCache) -> None:
    calls: list[int] = []

    class Shop:
        @async_cache.cached(key="price:{item}")
        async def price(self, item: int) -> int:
            calls.append(item)
            await asyncio.sleep(0)
            return item * len(calls)

        @async_cache.invalidates("price:{item}")
        async def change(self, item: int) -> None: ...

    shop = Shop()
    assert await asyncio.gather(*(shop.price(3) for _ in range(10))) == [3] * 10
    assert async_cache.counters.shared == 9
    await shop.change(3)
    assert await shop.price(3) == 6
    assert await shop.price.refresh(3) == 9
    assert await shop.price.uncached(3) == 12
    assert await shop.price.invalidate(3)
    assert await shop.price(3) == 15


def test_many_threads_load_once(cache: Cache) -> None:
    calls, gate = [], threading.Event()

    @cache.cached()
    def slow(number: int) -> int:
        calls.append(number)
        gate.wait()
        return number

    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(slow, 5) for _ in range(16)]
        while cache.counters.shared < 15:
            pass
        gate.set()
        assert [answer.result(30) for answer in answers] == [5] * 16
    assert calls == [5]
