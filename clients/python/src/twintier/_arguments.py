"""Keys and tags of decorated functions, from the arguments of their calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from uuid import UUID

from twintier._errors import UsageError
from twintier._keys import Template, argument_key
from twintier._options import Options, text, texts

KeyFunction = Callable[..., str]
RECEIVERS = ("self", "cls")
"""Names of the first parameter of methods, which is no part of a default key."""


class Arguments:
    """Binds the arguments of calls to the names of a function's parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        self.names = [p.name for p in parameters if p.name != self._rest]
        simple = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
        self._defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        self._required = len(self.names) - len(self._defaults) if simple else None
        """The number of arguments without defaults, if all may be given by position."""

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the arguments of a call by name, defaults included."""
        required = self._required
        if not kwargs and required is not None and required <= len(args) <= len(self.names):
            # The usual case, without the cost of Signature.bind.
            return {**self._defaults, **dict(zip(self.names, args, strict=False))}
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        if self._rest is not None:
            values.update(values.pop(self._rest))
        return values

    def template(self, option: str, template: str) -> Template:
        """Returns the template, whose names must be parameters."""
        result = Template(text(option, template))
        unknown = sorted(result.names - set(self.names)) if self._rest is None else []
        if unknown:
            raise UsageError(
                f"{option} {template!r} names {unknown[0]}, which is not a parameter of {self.name}"
            )
        return result


def fill(template: Template, values: Mapping[str, Any]) -> str:
    """Returns the template with arguments, of which UUIDs and enums become text."""
    return template.fill({n: _plain(values[n]) for n in template.names if n in values})


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return value.value if isinstance(value, Enum) else value


@dataclass(frozen=True)
class Plan:
    """The way from the arguments of a call to its key and options."""

    arguments: Arguments
    key: Template | KeyFunction | None
    ignored: frozenset[str]
    tags: tuple[Template, ...]
    options: Options

    def resolve(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Options]:
        """Returns the key and the options of a call."""
        key = self.key
        if key is not None and not isinstance(key, Template):
            made = text("key", key(*args, **kwargs))
            values = self.arguments.bind(args, kwargs) if self.tags else {}
        else:
            values = self.arguments.bind(args, kwargs)
            made = fill(key, values) if key is not None else self._hashed(values)
        if not self.tags:
            return made, self.options
        tags = tuple(fill(tag, values) for tag in self.tags)
        return made, replace(self.options, tags=tags)

    def _hashed(self, values: dict[str, Any]) -> str:
        parts = {name: value for name, value in values.items() if name not in self.ignored}
        return argument_key(self.arguments.name, parts)


def plan(
    function: Callable[..., Any],
    key: str | KeyFunction | None,
    ignore: Iterable[str],
    options: Options,
) -> Plan:
    """Returns the plan of a function. `options.tags` are templates."""
    arguments = Arguments(function)
    ignored = set(texts("ignore", ignore))
    unknown = sorted(ignored - set(arguments.names))
    if unknown:
        raise UsageError(f"ignore names {unknown[0]}, which is not a parameter of {arguments.name}")
    if arguments.names and arguments.names[0] in RECEIVERS:
        ignored.add(arguments.names[0])
    return Plan(
        arguments,
        arguments.template("key", key) if isinstance(key, str) else key,
        frozenset(ignored),
        tuple(arguments.template("tags", tag) for tag in options.tags),
        replace(options, tags=()),
    )
