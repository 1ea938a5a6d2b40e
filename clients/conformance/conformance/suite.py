"""Runs scenarios: several at once, one line for each, with all that is needed to see why one failed."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.errors import Mismatch, ScenarioError
from conformance.runner import Runner
from conformance.scenario import Scenario
from conformance.steps import Execution, namespace_of
from conformance.world import World


@dataclass
class Result:
    scenario: Scenario
    seconds: float
    failure: str | None
    transcript: list[str]


class Suite:
    """Worlds and runners of one run. Scenarios without faults share a world."""

    def __init__(self, program: Path, folder: Path, commands: dict[str, list[str]], jobs: int, patience: float) -> None:
        self._program = program
        self._folder = folder
        self._commands = commands
        self._jobs = jobs
        self._patience = patience
        self._shared: World | None = None
        self._runners: dict[str, Runner] = {}
        self._restart = asyncio.Lock()

    async def run(self, scenarios: list[Scenario], report: Any) -> bool:
        """Runs scenarios and reports each. Returns whether all passed."""
        try:
            if any(scenario.world is None for scenario in scenarios):
                self._shared = self._world("shared", {}, scenarios)
                await self._shared.start()
            results = await self._run_all(scenarios, report)
        finally:
            if self._shared is not None:
                await self._shared.stop()
            await asyncio.gather(*(runner.stop() for runner in self._runners.values()))
        return all(result.failure is None for result in results)

    async def _run_all(self, scenarios: list[Scenario], report: Any) -> list[Result]:
        # Those with a world of their own first: they take longest.
        waiting = sorted(scenarios, key=lambda scenario: scenario.world is None)
        results: list[Result] = []

        async def work() -> None:
            while waiting:
                result = await self._run_one(waiting.pop(0))
                results.append(result)
                report(result)

        await asyncio.gather(*(work() for _ in range(self._jobs)))
        return results

    async def _run_one(self, scenario: Scenario) -> Result:
        begin = time.monotonic()
        world, execution, failure = self._shared, None, None
        if scenario.world is not None:
            world = self._world(scenario.name, scenario.world, [scenario])
        assert world is not None
        try:
            if scenario.world is not None:
                await world.start()
            execution = Execution(scenario, world, await self._living(), self._patience)
            await execution.run()
        except (Mismatch, ScenarioError, RuntimeError) as error:
            failure = str(error)
        finally:
            if scenario.world is not None:
                await world.stop()
        transcript = execution.transcript if execution else []
        return Result(scenario, time.monotonic() - begin, failure, transcript)

    async def _living(self) -> dict[str, Runner]:
        """Returns the runners. One that ended is started again."""
        async with self._restart:
            for name, command in self._commands.items():
                if name not in self._runners or not self._runners[name].running:
                    self._runners[name] = Runner(name, command, self._folder / f"runner-{name}.log")
                    await self._runners[name].start()
            return dict(self._runners)

    def _world(self, name: str, options: dict[str, Any], scenarios: list[Scenario]) -> World:
        namespaces = {namespace_of(one): one.policy for one in scenarios if one.policy}
        return World(self._program, self._folder / name, namespaces=namespaces, **options)
