"""Types of decorated functions, checked by mypy only."""

from __future__ import annotations

from typing_extensions import assert_type

from twintier import AsyncCache, Cache

cache = Cache()
async_cache = AsyncCache()


@cache.cached(ttl="5m", key="{user_id}")
def load(user_id: int, lang: str = "en") -> list[str]:
    return [lang] * user_id


@cache.invalidates("{user_id}")
def change(user_id: int) -> bool:
    return user_id > 0


class Shop:
    @cache.cached()
    def price(self, item: int) -> float:
        return item * 2.0

    @async_cache.cached()
    async def later(self, item: int) -> float:
        return item * 2.0


async def check() -> None:
    assert_type(load(1), list[str])
    assert_type(load.refresh(1, lang="de"), list[str])
    assert_type(load.key(1), str)
    assert_type(load.invalidate(1), bool)
    assert_type(change(1), bool)
    assert_type(Shop().price(1), float)
    assert_type(Shop().price.refresh(item=1), float)
    assert_type(await Shop().later(1), float)
    assert_type(await Shop().later.uncached(1), float)
    load("x")  # type: ignore[arg-type]
    Shop().price("x")  # type: ignore[arg-type]
    cache.set("k", 1, tll="5m")  # type: ignore[call-arg]
    cache.get("k", ttl="5m")  # type: ignore[call-arg]
