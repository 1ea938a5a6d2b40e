"""A cache backend for Django. Needs the extra `twintier[django]`.

```python
CACHES = {
    "default": {
        "BACKEND": "twintier.django.TwintierCache",
        "LOCATION": "dns:///twintier-headless:50051",
        "OPTIONS": {"namespace": "shop"},
    }
}
```

`OPTIONS` are those of `twintier.Cache`, and:

- `serializer`: `pickle` (the default, for all objects as in Django's own backends), `json`,
  `msgpack`, `bytes`, or the path of a class. Whoever can write to the service can run code in a
  process that reads pickles; `json` has no such risk.
- `longest_timeout`: the namespace's `max_ttl`, 30 days unless set. Longer timeouts are shortened.
- `allow_no_expiry`: True if the namespace has this policy. Without it an entry with the timeout
  `None` lives for `longest_timeout`.
"""

from __future__ import annotations

import pickle
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.utils.module_loading import import_string

from twintier import _requests as requests
from twintier._blocking import complete
from twintier._duration import seconds
from twintier._errors import UsageError
from twintier._loading import Load
from twintier._lookup import Lookup
from twintier._options import Options, flag
from twintier._selection import Selection, selection
from twintier._settings import NearCache
from twintier._sync import Cache
from twintier.v1 import values_pb2

ATTEMPTS = 1000
"""Attempts of `incr` against concurrent changes."""
BUILT_IN = ("json", "msgpack", "bytes")


class PickleSerializer:
    """Pickles, as Django's own backends store them."""

    content_type = "application/x-python-pickle"

    def dumps(self, value: Any) -> bytes:
        """Returns `value` as a pickle."""
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes) -> Any:
        """Returns the value of a pickle."""
        return pickle.loads(data)  # noqa: S301


class TwintierCache(BaseCache):
    """Django's cache API by the service.

    An outage of the service looks like an empty cache, unless `OPTIONS` have `strict`.
    """

    def __init__(self, location: str | Sequence[str], params: dict[str, Any]) -> None:
        super().__init__(params)
        options = dict(params.get("OPTIONS", {}))
        for name in ("MAX_ENTRIES", "CULL_FREQUENCY"):
            # The service evicts by its own settings.
            options.pop(name, None)
        self._longest = seconds("longest_timeout", options.pop("longest_timeout", "30d"))
        self._no_expiry = flag("allow_no_expiry", options.pop("allow_no_expiry", False))
        self.client = _client(location, options)
        """The `twintier.Cache`, for all that Django's API does not have."""
        self._core = self.client._core

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Stores a value if there is none. Returns True if it was stored."""
        made = self.make_and_validate_key(key, version)
        data = self._core.serializer.dumps(value)
        options = self._written(timeout)
        if options is None:
            return not self._lookup(made).found
        return complete(
            self._core.set(made, data, options, self.client._tokens, if_absent=requests.IF_ABSENT)
        )

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Returns a value, or `default`."""
        lookup = self._lookup(self.make_and_validate_key(key, version))
        return lookup.value if lookup.found else default

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Stores a value."""
        made = self.make_and_validate_key(key, version)
        data = self._core.serializer.dumps(value)
        options = self._written(timeout)
        if options is None:
            self._remove(made)
        else:
            complete(self._core.set(made, data, options, self.client._tokens))

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Changes the time to live. Returns True if there is an entry."""
        made = self.make_and_validate_key(key, version)
        options = self._written(timeout)
        if options is None:
            return self._remove(made) > 0
        return complete(self._core.touch(made, options, self.client._tokens))

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Removes an entry. Returns True if there was one."""
        return self._remove(self.make_and_validate_key(key, version)) > 0

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Returns True if there is an entry."""
        return self._lookup(self.make_and_validate_key(key, version)).found

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Adds to a number, also with concurrent changes, and returns the sum."""
        made = self.make_and_validate_key(key, version)
        strong = replace(self._core.defaults, consistency=values_pb2.CONSISTENCY_STRONG)
        for _ in range(ATTEMPTS):
            lookup = complete(self._core.get(made, strong, self.client._tokens))
            if not lookup.found:
                raise ValueError(f"Key {key!r} not found")
            result: int = lookup.value + delta
            if self._replace(made, lookup, result):
                return result
        raise ValueError(f"Key {key!r} is changed by too many others")

    def _replace(self, key: str, lookup: Lookup, value: Any) -> bool:
        options = replace(
            self._core.defaults,
            ttl=lookup.ttl,
            no_expiry=lookup.ttl is None,
            jitter=None if lookup.ttl is None else 0.0,
        )
        data = self._core.serializer.dumps(value)
        work = self._core.set(key, data, options, self.client._tokens, if_version=lookup.version)
        return complete(work)

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Returns the values of those `keys` that were found."""
        made = {self.make_and_validate_key(key, version): key for key in keys}
        work = self._core.get_many(made, self._core.defaults, self.client._tokens)
        return {made[key]: found.value for key, found in complete(work).items() if found.found}

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        """Stores many values. Returns the keys of those that were not stored."""
        made = {self.make_and_validate_key(key, version): key for key in data}
        options = self._written(timeout)
        if options is None:
            self.delete_many(data, version)
            return []
        values = {key: self._core.serializer.dumps(data[made[key]]) for key in made}
        stored = complete(self._core.set_many(values, options, self.client._tokens))
        return [made[key] for key in made if key not in stored]

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Removes many entries."""
        self._remove(*(self.make_and_validate_key(key, version) for key in keys))

    def clear(self) -> None:
        """Removes all entries of the namespace, also of other prefixes and versions."""
        self._invalidate(selection(everything=True))

    def get_or_set(
        self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """Returns a value, or stores `default`. One caller of the fleet calls it if it can be."""
        made = self.make_and_validate_key(key, version)
        options = self._written(timeout)
        loader: Callable[[], Any] = default if callable(default) else lambda: default
        if options is None:
            lookup = self._lookup(made)
            return lookup.value if lookup.found else loader()
        lookup = self._core.near(made, options, self.client._tokens) or complete(
            Load(
                self._core, made, loader, options, self.client._tokens, none_is_absent=False
            ).result()
        )
        return lookup.value

    def ttl(self, key: Any, version: int | None = None) -> float | None:
        """Returns the remaining seconds: 0 without an entry, `None` if it does not expire."""
        made = self.make_and_validate_key(key, version)
        work = self._core.get(made, self._core.defaults, self.client._tokens)
        lookup = complete(work)
        return lookup.ttl if lookup.found else 0.0

    def delete_pattern(self, pattern: str, version: int | None = None) -> None:
        """Removes entries whose key matches: `*` matches any characters, `?` one."""
        marked = self.make_key("\0", version)
        before, _, after = marked.partition("\0")
        made = f"{_literal(before)}{pattern}{_literal(after)}"
        self._invalidate(selection(pattern=made))

    def _lookup(self, key: str) -> Lookup:
        core = self._core
        near = core.near(key, core.defaults, self.client._tokens)
        return near or complete(core.get(key, core.defaults, self.client._tokens))

    def _remove(self, *keys: str) -> int:
        return self._invalidate(Selection(keys=keys)) if keys else 0

    def _invalidate(self, selected: Selection) -> int:
        work = self._core.invalidate(selected, self._core.defaults, self.client._tokens)
        return complete(work) or 0

    def _written(self, timeout: Any) -> Options | None:
        """Returns the options of a write, or `None` if the entry has ended already."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        if timeout is None:
            if self._no_expiry:
                return replace(self._core.defaults, no_expiry=True)
            timeout = self._longest
        if timeout <= 0:
            return None
        return replace(self._core.defaults, ttl=min(float(timeout), self._longest))


def _literal(text: str) -> str:
    return re.sub(r"([*?\\])", r"\\\1", text)


_clients: dict[str, Cache] = {}
_lock = threading.Lock()


def _client(location: str | Sequence[str], options: dict[str, Any]) -> Cache:
    """Returns the client of these settings, which all threads share.

    Django makes a backend for each thread.
    """
    key = repr((location, sorted(options.items())))
    with _lock:
        if key not in _clients:
            _clients[key] = _made(location, options)
        return _clients[key]


def _made(location: str | Sequence[str], options: dict[str, Any]) -> Cache:
    addresses = re.split("[;,]", location) if isinstance(location, str) else location
    chosen = options.get("serializer", "pickle")
    if chosen == "pickle":
        chosen = PickleSerializer()
    elif isinstance(chosen, str) and chosen not in BUILT_IN:
        try:
            chosen = import_string(chosen)()
        except ImportError as error:
            raise UsageError(f"serializer cannot be imported: {error}") from error
    near = options.get("near_cache")
    if isinstance(near, dict):
        near = NearCache(**near)
    return Cache(addresses, **{**options, "serializer": chosen, "near_cache": near})
