"""Selections of entries to invalidate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from twintier._errors import UsageError
from twintier._options import text, texts
from twintier._requests import MAX_KEYS
from twintier.v1 import cache_pb2 as pb


@dataclass(frozen=True)
class Selection:
    """Entries by their keys, or by one other selector."""

    keys: tuple[str, ...] = ()
    selector: dict[str, Any] | None = None

    def requests(self) -> Iterator[dict[str, Any]]:
        """Returns the selectors of the requests: many keys need more than one."""
        if self.selector is not None:
            yield self.selector
        elif len(self.keys) == 1:
            # A version of the source is allowed with one key only.
            yield {"key": self.keys[0]}
        for start in range(0, len(self.keys) if len(self.keys) > 1 else 0, MAX_KEYS):
            yield {"keys": pb.Keys(keys=self.keys[start : start + MAX_KEYS])}


def selection(
    keys: str | Iterable[str] | None = None,
    tags: str | Iterable[str] | None = None,
    prefix: str | None = None,
    pattern: str | None = None,
    everything: bool = False,
) -> Selection:
    """Returns the selection of exactly one of the arguments."""
    given = {"keys": keys, "tags": tags, "prefix": prefix, "pattern": pattern}
    names = [name for name, value in given.items() if value is not None]
    if len(names) + bool(everything) != 1:
        named = ", ".join([*names, *["all"] * bool(everything)]) or "none"
        raise UsageError(f"one of keys, tags, prefix, pattern or all must be given, was {named}")
    if keys is not None:
        return Selection(keys=tuple(dict.fromkeys(texts("keys", keys))))
    if tags is not None:
        named_tags = texts("tags", tags)
        # No tag covers no entry.
        return Selection(selector={"tags": pb.Tags(tags=named_tags)} if named_tags else None)
    if everything:
        return Selection(selector={"whole_namespace": pb.WholeNamespace()})
    name = "prefix" if prefix is not None else "pattern"
    return Selection(selector={name: text(name, given[name])})
