from __future__ import annotations

from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from twintier import AsyncCache, Cache, UsageError, argument_key

cache = Cache("127.0.0.1:1")


class Color(Enum):
    RED = "red"


def test_a_template_takes_arguments_and_defaults() -> None:
    @cache.cached(key="user:{user_id}:{lang}")
    def user(user_id: int, lang: str = "en") -> int:
        return user_id

    assert user.key(7) == user.key(user_id=7) == "user:7:en"
    assert user.__name__ == "user"
    assert user.uncached(3) == 3


def test_uuids_and_enums_become_text() -> None:
    @cache.cached(key="{one}:{two}")
    def function(one: UUID, two: Color) -> None: ...

    assert function.key(UUID(int=1), Color.RED) == "00000000-0000-0000-0000-000000000001:red"


def test_keyword_arguments_may_be_named() -> None:
    @cache.cached(key="{user_id}")
    def function(**options: Any) -> None: ...

    assert function.key(user_id=1, other=2) == "1"
    with pytest.raises(UsageError, match="needs a value for user_id"):
        function.key(other=2)


def test_without_a_template_the_key_is_a_hash_of_all_arguments() -> None:
    @cache.cached()
    def function(a: int, *rest: int, b: str = "x", **more: int) -> None: ...

    name = f"{function.__module__}.{function.__qualname__}"
    arguments = {"a": 1, "rest": [2, 3], "b": "x", "c": 4}
    assert function.key(1, 2, 3, c=4) == argument_key(name, arguments)
    assert function.key(1) != function.key(2)


def test_ignored_arguments_are_no_part_of_the_key() -> None:
    @cache.cached(ignore="database")
    def function(database: object, user_id: int) -> None: ...

    assert function.key(object(), 1) == function.key(object(), 1)


def test_a_key_may_be_made_by_a_function() -> None:
    @cache.cached(key=lambda user: f"user:{user['id']}", tags=["n:{user}"])
    def function(user: Any) -> None: ...

    with pytest.raises(UsageError, match="user must be a str, int or bool"):
        function.key({"id": 5})

    @cache.cached(key=lambda user: f"user:{user['id']}")
    def other(user: Any) -> None: ...

    assert other.key({"id": 5}) == "user:5"


def test_methods_have_keys_without_their_instance() -> None:
    class Shop:
        @cache.cached()
        def price(self, item: str) -> int:
            return 5

    assert Shop().price.key("a") == Shop().price.key("a")
    assert Shop.price.key(Shop(), "a") == Shop().price.key("a")
    assert Shop().price.uncached("a") == 5


def test_arguments_that_cannot_be_hashed_are_an_error_of_the_call() -> None:
    @cache.cached()
    def function(thing: object) -> None: ...

    with pytest.raises(UsageError, match="must be JSON to be hashed into a key"):
        function(object())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "user:{uid}"}, "key 'user:{uid}' names uid, which is not a parameter of"),
        ({"tags": "user:{uid}"}, "tags 'user:{uid}' names uid"),
        ({"ignore": "uid"}, "ignore names uid"),
        ({"ttl": "five"}, "ttl must be a duration"),
    ],
)
def test_wrong_decorations_are_errors_of_the_decoration(
    options: dict[str, Any], message: str
) -> None:
    def function(user_id: int) -> None: ...

    with pytest.raises(UsageError, match=message):
        cache.cached(**options)(function)


def test_each_client_decorates_its_kind_of_functions() -> None:
    async def coroutine() -> None: ...
    def function() -> None: ...

    with pytest.raises(UsageError, match="use AsyncCache"):
        cache.cached()(coroutine)
    with pytest.raises(UsageError, match="use Cache"):
        AsyncCache("127.0.0.1:1").cached()(function)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="below @staticmethod"):
        cache.cached()(staticmethod(function))
    with pytest.raises(UsageError, match="one of keys, tags"):
        cache.invalidates()(function)
