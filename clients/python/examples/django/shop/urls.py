"""Addresses and views of the example."""

from contextlib import suppress

from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path

DATABASE = {1: {"name": "chair", "price": 10}, 2: {"name": "table", "price": 40}}
QUERIES: list[int] = []


def load(product_id: int) -> dict[str, object] | None:
    """Reads a product from the database."""
    QUERIES.append(product_id)
    return DATABASE.get(product_id)


def product(request: HttpRequest, product_id: int) -> HttpResponse:
    """Returns a product, or changes its price."""
    if request.method == "POST":
        DATABASE[product_id] = {**DATABASE[product_id], "price": int(request.POST["price"])}
        cache.delete(f"product:{product_id}")
    # One process of the fleet reads the database, the others wait for it.
    found = cache.get_or_set(f"product:{product_id}", lambda: load(product_id))
    count_visit()
    if found is None:
        raise Http404
    return JsonResponse(found)


def count_visit() -> None:
    """Counts a request, if the service is there."""
    cache.add("visits", 0, timeout=None)
    with suppress(ValueError):
        cache.incr("visits")


def numbers(_: HttpRequest) -> HttpResponse:
    """Returns how often products were requested, and the database was read."""
    return JsonResponse({"visits": cache.get("visits"), "queries": len(QUERIES)})


urlpatterns = [path("products/<int:product_id>", product), path("numbers", numbers)]
