"""Scenarios as data: reading, checking, and substitution of variables."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from conformance.errors import ScenarioError

# Fields of a step beside the arguments of its operation.
VERBS = {
    "call": {"expect", "save", "runner"},
    "until": {"expect", "save", "runner"},
    "start": {"as", "runner"},
    "await": {"expect", "save"},
    "cancel": set(),
    "open": {"runner"},
    "raw": {"replica", "request", "token", "expect", "save"},
    "raw_until": {"replica", "request", "token", "expect", "save"},
    "fault": {"replica"},
    "write": {"text", "token", "hashes"},
    "vectors": {"runner"},
    "each": {"steps", "distinct"},
    "retry": set(),
}
# Verbs whose other entries are arguments of a runner's operation.
OPERATIONS = {"call", "until", "start"}
_KEYS = {"name", "about", "world", "policy", "clients", "steps"}
_WORLD_KEYS = {"replicas", "settings", "secure", "relays"}
# Names of mappings that stand for something else: a variable may have the same name.
MARKERS = {"$text", "$bytes", "$add", "$repeat", "$keys", "$merge"}
_VARIABLE = re.compile(r"\$\{([\w.]+)\}|\$(\w+)")


@dataclass
class Scenario:
    """One scenario. `world` is `None` if it shares the replicas of others."""

    name: str
    about: str
    steps: list[dict[str, Any]]
    world: dict[str, Any] | None = None
    policy: dict[str, Any] = field(default_factory=dict)
    clients: dict[str, dict[str, Any]] = field(default_factory=lambda: {"c": {}})


def read(path: Path) -> list[Scenario]:
    """Reads a file of scenarios and checks their form."""
    with path.open() as file:
        rows = yaml.safe_load(file)
    scenarios = [_scenario(row, path) for row in rows]
    names = [scenario.name for scenario in scenarios]
    for name in set(names):
        if names.count(name) > 1:
            raise ScenarioError(f"{path.name}: two scenarios are called {name!r}")
    return scenarios


def _scenario(row: dict[str, Any], path: Path) -> Scenario:
    where = f"{path.name}: scenario {row.get('name')!r}"
    for name in ("name", "about", "steps"):
        if not row.get(name):
            raise ScenarioError(f"{where}: {name} is missing")
    if not re.fullmatch(r"[a-z0-9-]{1,40}", row["name"]):
        raise ScenarioError(f"{where}: name: expected 1 to 40 characters of [a-z0-9-]")
    _only(row, _KEYS, where)
    _only(row.get("world") or {}, _WORLD_KEYS, f"{where}: world")
    _check_steps(row["steps"], where)
    scenario = Scenario(row["name"], row["about"], row["steps"], row.get("world"), row.get("policy") or {})
    if "clients" in row:
        scenario.clients = {name: options or {} for name, options in row["clients"].items()}
    return scenario


def _check_steps(steps: list[dict[str, Any]], where: str) -> None:
    for index, step in enumerate(steps, 1):
        place = f"{where}: step {index}"
        verb = verb_of(step, place)
        if verb not in OPERATIONS:
            _only(step, VERBS[verb] | {verb}, place)
        if verb in ("until", "raw_until") and "expect" not in step:
            raise ScenarioError(f"{place}: {verb} needs expect")
        if verb == "start" and "as" not in step:
            raise ScenarioError(f"{place}: start needs as")
        if verb in ("each", "retry"):
            _check_steps(step["steps" if verb == "each" else "retry"], place)


def verb_of(step: dict[str, Any], place: str = "a step") -> str:
    verbs = [verb for verb in VERBS if verb in step]
    # `open`, `cancel` and the like may also be arguments: the first key decides.
    first = next(iter(step), None)
    if first not in verbs:
        raise ScenarioError(f"{place}: begins with {first!r}; expected one of {', '.join(VERBS)}")
    return str(first)


def _only(row: dict[str, Any], known: set[str], where: str) -> None:
    unknown = set(row) - known
    if unknown:
        raise ScenarioError(
            f"{where}: unknown {', '.join(sorted(map(str, unknown)))}; expected {', '.join(sorted(known))}"
        )


def substitute(part: Any, variables: dict[str, Any]) -> Any:
    """Replaces `$name` and `${name}`. A text that is nothing else becomes the variable's own value."""
    if isinstance(part, dict):
        pairs = part.items()
        return _mapping({_key(key, variables): substitute(value, variables) for key, value in pairs})
    if isinstance(part, list):
        return [substitute(value, variables) for value in part]
    if not isinstance(part, str):
        return part
    whole = _VARIABLE.fullmatch(part)
    if whole:
        return _value(whole, variables)
    return _VARIABLE.sub(lambda match: str(_value(match, variables)), part)


def _key(key: Any, variables: dict[str, Any]) -> Any:
    return key if key in MARKERS else substitute(key, variables)


def _value(match: re.Match[str], variables: dict[str, Any]) -> Any:
    """Returns the variable's value, or a part of it: `${case.key}`."""
    value: Any = variables
    for name in (match[1] or match[2]).split("."):
        if not isinstance(value, dict) or name not in value:
            # Text in braces that names no variable stays.
            return match[0]
        value = value[name]
    return value


def _mapping(part: dict[Any, Any]) -> Any:
    """Computes `$add`, `$repeat` and `$keys`, and merges the mapping of `$merge`."""
    if part.keys() == {"$add"}:
        return sum(part["$add"])
    if part.keys() == {"$repeat"}:
        text, times = part["$repeat"]
        return text * times
    if part.keys() == {"$keys"}:
        prefix, count = part["$keys"]
        return [f"{prefix}{number}" for number in range(count)]
    if "$merge" in part:
        merged = part.pop("$merge")
        return {**part, **merged}
    return part
