"""Execution of a scenario's steps."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from conformance import pki, rpc, vectors
from conformance.errors import Mismatch, RunnerEnded, ScenarioError
from conformance.expect import differences
from conformance.processes import PATIENCE
from conformance.runner import Call, Runner
from conformance.scenario import OPERATIONS, VERBS, Scenario, substitute, verb_of
from conformance.world import World

# Operations that take neither a client nor a session.
_WITHOUT_CLIENT = {"cancel", "open", "loads", "key", "argument_key", "encode", "decode"}
# Deadline of a call where a scenario names none: long, so that a busy machine does not matter.
_TIMEOUT = "10s"
_FILES = ("token_file", "ca_file", "cert_file", "key_file")
_PAUSE = 0.02
# Longest text of a request or an answer in a report.
_SHOWN = 500
# Callers of a stampede over all runners.
_CALLERS = 1000


class Execution:
    """One scenario that is run: its world, its runners, its variables and what it has seen."""

    def __init__(
        self, scenario: Scenario, world: World, runners: dict[str, Runner], patience: float = PATIENCE
    ) -> None:
        namespace = namespace_of(scenario)
        self._scenario = scenario
        self._patience = patience
        self._world = world
        self._runners = runners
        self._default = next(iter(runners))
        self._prefix = namespace
        self._started: dict[str, tuple[Runner, Call]] = {}
        self._open_clients: set[tuple[str, str]] = set()
        self._folder = world.folder / namespace
        self._folder.mkdir(exist_ok=True)
        self.variables: dict[str, Any] = {
            "namespace": namespace,
            "count": len(runners),
            "share": _CALLERS // len(runners),
        }
        self.transcript: list[str] = []

    async def run(self) -> None:
        """Runs every step. A step that fails raises [Mismatch] with its place."""
        try:
            for name, options in self._scenario.clients.items():
                for language in self._runners:
                    await self._operation(language, "client", {"client": name, **options}, {})
            await self._steps(self._scenario.steps, self.variables, "")
        except asyncio.CancelledError:
            self._open_clients.clear()
            raise
        finally:
            await self._close_clients()

    async def _close_clients(self) -> None:
        for language, name in sorted(self._open_clients):
            runner = self._runners[language]
            if runner.running:
                try:
                    await runner.call("close", {"client": self._qualified(name), "drain": "1s"})
                except Mismatch:
                    # The scenario's own result says more.
                    return

    async def _steps(self, steps: list[dict[str, Any]], variables: dict[str, Any], place: str) -> None:
        for number, step in enumerate(steps, 1):
            here = f"{place}{number}"
            if "each" in step:
                await self._each(step, variables, here)
                continue
            if "retry" in step:
                await self._retry(step["retry"], variables, here)
                continue
            substituted = substitute(step, variables)
            try:
                await self._step(verb_of(step), substituted, variables)
            except Mismatch as error:
                raise type(error)(f"step {here}: {_shown(substituted)}\n{error}") from error

    async def _each(self, step: dict[str, Any], variables: dict[str, Any], here: str) -> None:
        """Repeats steps for every combination of the variables' values."""
        combinations: list[dict[str, Any]] = [{}]
        for name, values in step["each"].items():
            combinations = [{**row, name: value} for row in combinations for value in self._values(values)]
        if step.get("distinct"):
            combinations = [row for row in combinations if len(set(map(str, row.values()))) == len(row)]
        for row in combinations:
            shown = ",".join(str(value) for value in row.values())
            inner = {**variables, **row}
            await self._steps(step["steps"], inner, f"{here}[{shown}].")
            variables.update({name: value for name, value in inner.items() if name not in row})

    async def _retry(self, steps: list[dict[str, Any]], variables: dict[str, Any], here: str) -> None:
        """Repeats steps until all of their expectations hold."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        mark = len(self.transcript)
        while True:
            del self.transcript[mark:]
            try:
                return await self._steps(steps, variables, f"{here}.")
            except RunnerEnded:
                raise
            except Mismatch as error:
                if loop.time() > end:
                    raise Mismatch(f"{error}\n  repeated for {self._patience:.0f} s") from error
            await asyncio.sleep(_PAUSE)

    def _values(self, values: Any) -> list[Any]:
        if values == "runners":
            return list(self._runners)
        return list(range(values)) if isinstance(values, int) else list(values)

    async def _step(self, verb: str, step: dict[str, Any], variables: dict[str, Any]) -> None:
        if verb in OPERATIONS:
            on = step.get("runner", self._default)
            arguments = {name: value for name, value in step.items() if name not in VERBS[verb] | {verb}}
            if verb == "start":
                runner = self._runner(on)
                request = self._arguments(on, step["start"], arguments)
                self._started[step["as"]] = (runner, runner.send(step["start"], request))
                self._note(f"{on}: start {step['start']} as {step['as']} {_shown(request)}")
                return
            await self._expected(
                lambda: self._operation(on, step[verb], arguments, step), step, variables, verb == "until"
            )
        elif verb in ("raw", "raw_until"):
            await self._expected(lambda: self._raw(step[verb], step), step, variables, verb == "raw_until")
        elif verb == "await":
            _, call = self._call(step["await"])
            await self._expected(call.answer, step, variables, False)
        elif verb == "cancel":
            runner, call = self._call(step["cancel"])
            await self._expected(lambda: runner.call("cancel", {"call": call.id}), {"expect": {}}, variables, False)
        elif verb == "open":
            await self._open(step)
        elif verb == "fault":
            self._note(f"fault {step['fault']} {step.get('replica', '')}")
            await self._world.fault(step["fault"], step.get("replica", 0))
        elif verb == "write":
            self._write(step)
        elif verb == "vectors":
            await vectors.check(step["vectors"], self._runner(step.get("runner", self._default)))

    async def _expected(self, answer: Any, step: dict[str, Any], variables: dict[str, Any], repeat: bool) -> None:
        """Compares an answer with the step's expectation; repeats until it holds if asked to."""
        expected = step.get("expect", {})
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        mark = len(self.transcript)
        while True:
            # Of a step that is repeated only the last attempt stays in the transcript.
            del self.transcript[mark:]
            actual = await answer()
            found = differences(expected, actual)
            if "error" in actual and "error" not in expected:
                found = [f"did not expect an error: {actual['error']}"]
            if not found:
                break
            if not repeat or loop.time() > end:
                waited = f"\n  within {self._patience:.0f} s" if repeat else ""
                raise Mismatch("\n".join(f"  {line}" for line in found) + f"{waited}\n  answer: {_shown(actual)}")
            await asyncio.sleep(_PAUSE)
        for name, path in step.get("save", {}).items():
            variables[name] = _part(actual, path)

    async def _operation(self, on: str, op: str, arguments: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
        if on == "all":
            answers = [await self._operation(name, op, arguments, step) for name in self._runners]
            return _sum(answers)
        request = self._arguments(on, op, arguments)
        answer = await self._runner(on).call(op, request)
        self._note(f"{on}: {op} {_shown(request)}", answer)
        return answer

    async def _raw(self, method: str, step: dict[str, Any]) -> dict[str, Any]:
        request = dict(step.get("request", {}))
        if rpc.has_namespace(method):
            request.setdefault("namespace", self._prefix)
        token = self._world.tokens.get(step.get("token", "first"))
        answer = await self._world.raw(step.get("replica", 0), method, request, token)
        self._note(f"raw {method} {_shown(request)}", answer)
        return answer

    async def _open(self, step: dict[str, Any]) -> None:
        for name in self._runners if step.get("runner") == "all" else [step.get("runner", self._default)]:
            await self._operation(name, "open", {"gate": step["open"]}, step)

    def _write(self, step: dict[str, Any]) -> None:
        """Writes a file of the scenario, or the accepted tokens of the world's replicas."""
        if "hashes" in step:
            hashes = [pki.token_hash(self._world.tokens[name]) for name in step["hashes"]]
            (self._world.folder / "hashes").write_text("\n".join(hashes) + "\n")
            return
        text = self._world.tokens[step["token"]] if "token" in step else step["text"]
        # By another name first: a reader never sees half of a file.
        new = self._folder / f"{step['write']}.new"
        new.write_text(text + "\n")
        new.replace(self._folder / step["write"])

    def _arguments(self, on: str, op: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Completes arguments: names that no other scenario uses, ports, paths and defaults."""
        request = dict(arguments)
        if op == "client":
            return self._client(on, request)
        if op not in _WITHOUT_CLIENT and "client" not in request and (op == "session" or "session" not in request):
            request["client"] = self._only_client()
        if op == "close":
            self._open_clients.discard((on, request["client"]))
        for name in ("client", "session", "gate"):
            if name in request:
                request[name] = self._qualified(request[name])
        if op == "loads":
            request["loader"] = self._qualified(request["loader"])
        elif "loader" in request:
            request["loader"] = self._loader(request["loader"])
        return request

    def _client(self, on: str, request: dict[str, Any]) -> dict[str, Any]:
        options = {"namespace": self._prefix, "timeout": _TIMEOUT, **request.get("options", {})}
        if self._world.secure:
            options.setdefault("ca_file", "ca.pem")
        for name in _FILES:
            if options.get(name):
                options[name] = str(self._file(options[name]))
            else:
                options.pop(name, None)
        addresses = [f"127.0.0.1:{self._world.ports[number]}" for number in request.get("addresses", [0])]
        self._open_clients.add((on, request["client"]))
        return {"client": self._qualified(request["client"]), "addresses": addresses, "options": options}

    def _file(self, name: str) -> Path:
        own = self._folder / name
        return own if own.exists() else self._world.folder / name

    def _loader(self, loader: dict[str, Any]) -> dict[str, Any]:
        qualified: dict[str, Any] = {name: self._qualified(loader[name]) for name in ("name", "gate") if name in loader}
        return {**loader, **qualified}

    def _only_client(self) -> str:
        if len(self._scenario.clients) != 1:
            raise ScenarioError(f"{self._scenario.name}: an operation names no client, and there are several")
        return next(iter(self._scenario.clients))

    def _qualified(self, name: str) -> str:
        return f"{self._prefix}.{name}"

    def _runner(self, name: str) -> Runner:
        if name not in self._runners:
            raise ScenarioError(f"on: {name!r}: expected one of {', '.join(self._runners)}")
        return self._runners[name]

    def _call(self, name: str) -> tuple[Runner, Call]:
        if name not in self._started:
            raise ScenarioError(f"{name!r} was not started")
        return self._started[name]

    def _note(self, request: str, answer: Any = None) -> None:
        """Adds a line to the transcript."""
        self.transcript.append(request if answer is None else f"{request} -> {json.dumps(answer, ensure_ascii=False)}")


def namespace_of(scenario: Scenario) -> str:
    """Returns the namespace of a scenario: no other one has the same."""
    digest = hashlib.sha256(scenario.name.encode()).hexdigest()[:6]
    return f"{scenario.name[:40]}-{digest}"


def _shown(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _part(answer: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(answer, dict) or name not in answer:
            raise Mismatch(f"  {path}: is missing in {answer!r}")
        answer = answer[name]
    return answer


def _sum(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Adds up the numbers of answers; the first error stands for all."""
    for answer in answers:
        if "error" in answer:
            return answer
    return {name: sum(answer[name] for answer in answers) for name in answers[0]}
