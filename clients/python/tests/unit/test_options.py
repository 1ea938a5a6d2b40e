from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from twintier import Cache, NearCache, UsageError
from twintier._connection import SERVICE_CONFIG, TokenFile, target
from twintier._duration import from_wire, seconds, wire
from twintier._options import EVENTUAL, Options, resolve
from twintier._selection import selection
from twintier._tokens import Tokens, parse
from twintier.v1 import values_pb2

DOCS = Path(__file__).parents[4] / "docs" / "rolling-updates.md"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("250ms", 0.25),
        ("5m", 300),
        ("1h30m", 5400),
        ("0s", 0),
        (2, 2),
        (0.5, 0.5),
        (timedelta(days=1), 86400),
    ],
)
def test_durations(value: object, expected: float) -> None:
    assert seconds("ttl", value) == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["5", "5M", "", "m", "1.5s", "-1s", -1, None, True, [], 4e11])
def test_wrong_durations_name_the_option(value: object) -> None:
    with pytest.raises(UsageError, match=r"^ttl must be .* was "):
        seconds("ttl", value)  # type: ignore[arg-type]


def test_durations_survive_the_wire() -> None:
    message = wire(1.25)
    assert message is not None
    assert (message.seconds, message.nanos, from_wire(message)) == (1, 250_000_000, 1.25)
    assert wire(None) is None


def test_options_resolve() -> None:
    options = resolve(Options(), {"ttl": "5m", "tags": "a", "consistency": "eventual"})
    assert (options.ttl, options.tags, options.max_staleness) == (300, ("a",), EVENTUAL)
    assert options.consistency == values_pb2.CONSISTENCY_BOUNDED
    assert resolve(options, {"max_staleness": "1s", "consistency": "eventual"}).max_staleness == 1


def test_the_wait_for_a_lease_is_as_long_as_the_lease() -> None:
    assert Options().wait == 10
    assert resolve(Options(), {"lease_duration": "1m", "timeout": "1s"}).wait == 60
    assert resolve(Options(), {"lease_duration": "1m", "lease_wait": "0s"}).wait == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tll": "5m"}, "tll is not an option; options are namespace"),
        ({"consistency": "weak"}, "consistency must be bounded, strong or eventual, was 'weak'"),
        ({"consistency": "strong", "max_staleness": "1s"}, "max_staleness is not allowed"),
        ({"jitter": 0.6}, "jitter must be from 0 to 0.5, was 0.6"),
        ({"source_version": -1}, "source_version must be an int from 0"),
        ({"strict": 1}, "strict must be True or False, was 1"),
        ({"tags": ["a", 1]}, "tags must be a str, was 1"),
        ({"namespace": "\ud800"}, "namespace must be text with a UTF-8 encoding"),
    ],
)
def test_wrong_options_are_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        resolve(Options(), given)


@pytest.mark.parametrize(
    ("addresses", "options", "message"),
    [
        ([], {}, "addresses must be one or more texts"),
        (["a:1", "127.0.0.1:2"], {}, "several addresses must be IP addresses with ports"),
        (["127.0.0.1:1", "[::1]:2"], {}, "addresses must all be IPv4 or all be IPv6"),
        ("a:1", {"later_queue": 0}, "later_queue must be an int of at least 1, was 0"),
        ("a:1", {"cert_file": "x"}, "cert_file and key_file must be given together"),
        ("a:1", {"ca_file": "/none"}, "ca_file cannot be read"),
        ("a:1", {"token_file": "/none"}, "token_file cannot be read"),
        ("a:1", {"serializer": "xml"}, "serializer must be json, msgpack or bytes, was 'xml'"),
        ("a:1", {"serializer": object()}, "serializer must have content_type"),
        ("a:1", {"near_cache": 5}, "near_cache must be a NearCache, was 5"),
        ("a:1", {"timout": "1s"}, "timout is not an option of a client"),
    ],
)
def test_wrong_settings_are_named(
    addresses: list[str], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        Cache(addresses, **options)  # type: ignore[arg-type]


def test_wrong_near_caches_are_named() -> None:
    with pytest.raises(UsageError, match="max_bytes must be more than 0, was 0"):
        NearCache(max_bytes=0)
    with pytest.raises(UsageError, match="max_staleness must be more than 0s"):
        NearCache(max_staleness=0)


def test_targets() -> None:
    assert target(("dns:///cache:50051",)) == "dns:///cache:50051"
    assert target(("127.0.0.1:1", "127.0.0.2:2")) == "ipv4:127.0.0.1:1,127.0.0.2:2"
    assert target(("[::1]:1", "[::2]:2")) == "ipv6:[::1]:1,[::2]:2"


def test_the_service_config_is_that_of_the_documentation() -> None:
    block = re.search(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert block is not None
    documented = json.loads(block[1])
    # It would also end a wait for a lease: the library has a deadline for each call.
    del documented["methodConfig"][0]["timeout"]
    assert documented == SERVICE_CONFIG


def test_a_token_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    file = TokenFile(str(path))
    assert file.header() == ("authorization", "Bearer first")
    (tmp_path / "new").write_text("second")
    (tmp_path / "new").replace(path)
    assert file.header() == ("authorization", "Bearer second")
    path.unlink()
    assert file.header() == ("authorization", "Bearer second")


def test_selections_need_one_selector() -> None:
    for given in [{}, {"keys": "a", "tags": "b"}, {"prefix": "a", "everything": True}]:
        with pytest.raises(UsageError, match="one of keys, tags, prefix, pattern or all"):
            selection(**given)  # type: ignore[arg-type]
    assert list(selection(keys=[]).requests()) == []
    assert list(selection(tags=[]).requests()) == []
    many = list(selection(keys=[str(number) for number in range(1201)]).requests())
    assert [len(request["keys"].keys) for request in many] == [500, 500, 201]


class _Gates:
    def gate(self, places: int) -> None:
        assert places == 16


def test_tokens_of_a_session_replace_those_that_were_sent() -> None:
    tokens = Tokens(_Gates(), "a,b")  # type: ignore[arg-type]
    sent = tokens.current()
    tokens.learn(sent, "c")
    tokens.learn(sent, "d")
    tokens.learn((), "")
    assert tokens.text() == "c,d"


@pytest.mark.parametrize(
    "text", ["a b", "a,,b", ",", "ä", "a\n", "x" * 40_000, ",".join("abcdefghijklmnopq")]
)
def test_wrong_texts_of_sessions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="text of a session must"):
        parse(text)
