from __future__ import annotations

from typing import Any

from twintier import NearCache
from twintier._near import OVERHEAD, Near
from twintier._watch import Watcher, pattern, selector
from twintier.v1 import watch_pb2 as pb


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def near(max_bytes: int = 10_000) -> tuple[Near, Clock]:
    clock = Clock()
    return Near(NearCache(max_bytes=max_bytes, max_staleness=2), clock), clock


def keep(cache: Near, key: str, data: bytes = b"1", expires: float = 1e9) -> bool:
    ticket = cache.begin(key)
    if ticket is None:
        return False
    cache.keep(ticket, data, expires)
    cache.end(ticket)
    return cache.get(key) is not None


def test_nothing_is_kept_before_the_first_heartbeat() -> None:
    cache, _ = near()
    assert not keep(cache, "k")
    cache.heartbeat("t", None)
    assert keep(cache, "k")
    assert not cache.proven()


def test_entries_are_answered_while_proven() -> None:
    cache, clock = near()
    cache.heartbeat("t", clock.now)
    clock.now += 2
    assert cache.proven()
    assert not cache.proven(1.0)
    clock.now += 0.1
    assert not cache.proven()
    assert not cache.proven(60.0)
    cache.heartbeat("t", clock.now - 1)
    assert cache.proven()
    cache.heartbeat("t", None)
    assert cache.proven()


def test_entries_end() -> None:
    cache, clock = near()
    cache.heartbeat("t", clock.now)
    assert keep(cache, "k", expires=clock.now + 1)
    clock.now += 1
    assert cache.get("k") is None


def test_a_change_drops_its_keys_and_voids_reads_that_go_on() -> None:
    cache, clock = near()
    cache.heartbeat("t", clock.now)
    assert keep(cache, "a")
    assert keep(cache, "b")
    ticket = cache.begin("a")
    assert ticket is not None
    cache.changed(["a"])
    cache.keep(ticket, b"old", 1e9)
    assert cache.get("a") is None
    assert cache.get("b") is not None
    assert cache.begin("a") is None
    cache.heartbeat("u", clock.now)
    assert keep(cache, "a")


def test_a_selector_drops_what_it_covers_and_voids_all_reads() -> None:
    cache, clock = near()
    cache.heartbeat("t", clock.now)
    assert keep(cache, "a:1")
    assert keep(cache, "b")
    ticket = cache.begin("b")
    assert ticket is not None
    cache.covered(lambda key: key.startswith("a"))
    cache.keep(ticket, b"old", 1e9)
    assert cache.get("a:1") is None
    entry = cache.get("b")
    assert entry is not None
    assert entry.data == b"1"
    assert cache.begin("c") is None


def test_a_discontinuity_drops_all_until_the_next_heartbeat() -> None:
    cache, clock = near()
    cache.heartbeat("t", clock.now)
    assert keep(cache, "k")
    cache.discontinued()
    assert cache.get("k") is None
    assert cache.begin("k") is None


def test_an_interruption_keeps_entries_but_takes_no_new_ones() -> None:
    cache, clock = near()
    cache.heartbeat("t", clock.now)
    assert keep(cache, "k")
    cache.interrupted()
    assert cache.get("k") is not None
    assert cache.begin("x") is None


def test_it_is_bounded_in_bytes() -> None:
    cache, clock = near(max_bytes=4 * (OVERHEAD + 101))
    cache.heartbeat("t", clock.now)
    for key in "abcdefgh":
        assert keep(cache, key, b"x" * 100)
    assert [key for key in "abcdefgh" if cache.get(key)] == list("efgh")
    assert not keep(cache, "large", b"x" * 10_000)


def test_very_many_changes_are_remembered_as_all() -> None:
    cache, clock = near()
    cache.heartbeat("t", clock.now)
    cache.changed(str(number) for number in range(10_001))
    assert cache.begin("other") is None


def test_selectors() -> None:
    below = selector("prefix", pb.WatchChange(prefix="user:42:"))
    assert [below(k) for k in ("user:42", "user:42:a", "user:42/a", "user:421")] == [
        True,
        True,
        True,
        False,
    ]
    assert selector("tag", pb.WatchChange(tag="t"))("any")
    matches = pattern("a*b?\\*.")
    assert [matches(k) for k in ("ab1*.", "axx\nb2*.", "ab1x.", "ab1*x")] == [
        True,
        True,
        False,
        False,
    ]


class Metadata:
    def current(self) -> None:
        return None


def watcher(cache: Near) -> Any:
    return Watcher(cache, "n", None, Metadata())  # type: ignore[arg-type]


def test_a_watch_resumes_from_its_last_tokens() -> None:
    cache, _ = near()
    watch = watcher(cache)
    watch._apply(pb.WatchResponse(heartbeat=pb.WatchHeartbeat(token="h")), 0.0)
    for number in range(30):
        change = pb.WatchChange(keys=pb.WatchKeys(keys=["k"]), token=str(number))
        watch._apply(pb.WatchResponse(change=change), 0.0)
    assert list(watch._request().tokens) == ["h", *map(str, range(15))]
    watch._apply(pb.WatchResponse(discontinuity=pb.WatchDiscontinuity()), 0.0)
    assert list(watch._request().tokens) == []


def test_a_heartbeat_proves_what_was_before_it() -> None:
    cache, clock = near()
    heartbeat = pb.WatchHeartbeat(token="h")
    heartbeat.elapsed.FromMilliseconds(5000)
    heartbeat.proof_age.FromMilliseconds(500)
    watcher(cache)._apply(pb.WatchResponse(heartbeat=heartbeat), clock.now - 5)
    clock.now += 1.5
    assert cache.proven()
    clock.now += 0.1
    assert not cache.proven()
