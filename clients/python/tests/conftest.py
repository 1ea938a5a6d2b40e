from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from world import World

from twintier import AsyncCache, Cache


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    world = World(replicas=2)
    yield world
    world.close()


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def cache(world: World, namespace: str) -> Iterator[Cache]:
    with Cache(world.address, namespace=namespace, timeout="30s", strict=True) as cache:
        yield cache


@pytest.fixture
async def async_cache(world: World, namespace: str) -> AsyncIterator[AsyncCache]:
    async with AsyncCache(world.address, namespace=namespace, timeout="30s", strict=True) as cache:
        yield cache
