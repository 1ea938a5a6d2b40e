"""Products with a cache, served by FastAPI.

pip install twintier fastapi uvicorn
uvicorn app:app

curl localhost:8000/products/1
curl -X PUT 'localhost:8000/products/1?price=12'
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

from twintier import AsyncCache
from twintier.asgi import SessionMiddleware

DATABASE = {1: {"name": "chair", "price": 10}, 2: {"name": "table", "price": 40}}
QUERIES: list[int] = []

cache = AsyncCache(
    os.environ.get("TWINTIER_SERVER", "localhost:50051"),
    namespace="shop",
    timeout=os.environ.get("CACHE_TIMEOUT", "250ms"),
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Closes the cache with the application."""
    yield
    await cache.close()


app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, cache=cache)


@cache.cached(ttl="5m", soft_ttl="1m", key="product:{product_id}", tags=["products"])
async def product(product_id: int) -> dict[str, object] | None:
    """Reads a product from the database. `None` is cached, too."""
    QUERIES.append(product_id)
    await asyncio.sleep(0.01)
    return DATABASE.get(product_id)


@cache.invalidates("product:{product_id}")
async def change(product_id: int, price: int) -> None:
    """Changes a product in the database."""
    DATABASE[product_id] = {**DATABASE[product_id], "price": price}


@app.get("/products/{product_id}")
async def read(product_id: int) -> dict[str, object]:
    """Returns a product."""
    found = await product(product_id)
    if found is None:
        raise HTTPException(404)
    return found


@app.put("/products/{product_id}")
async def write(product_id: int, price: int) -> None:
    """Changes the price of a product."""
    await change(product_id, price)


@app.get("/queries")
async def queries() -> int:
    """Returns the number of reads of the database."""
    return len(QUERIES)
