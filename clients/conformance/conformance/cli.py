"""The command line of the suite."""

import argparse
import asyncio
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from conformance import paths, scenario
from conformance.errors import Mismatch, ScenarioError
from conformance.processes import PATIENCE
from conformance.scenario import Scenario
from conformance.suite import Result, Suite

# The end of a transcript that a failure shows.
_TRANSCRIPT = 12
_WIDTH = 300


def main() -> int:
    options = _parser().parse_args(_arguments())
    try:
        scenarios = _selected(options)
        if options.list:
            for one in scenarios:
                print(f"{one.name:40} {one.about}")
            return 0
        return _run(options, scenarios)
    except (ScenarioError, Mismatch, RuntimeError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        print("conformance: interrupted", file=sys.stderr)
        return 130


def _arguments() -> list[str]:
    """Returns the arguments. What follows `--` is one: the command of the runner."""
    before, found, after = sys.argv[1:], False, []
    if "--" in before:
        index = before.index("--")
        before, after, found = before[:index], before[index + 1 :], True
    return [*before, "--command", shlex.join(after)] if found else before


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run",
        usage="run --program PATH [--scenario NAME]... [--list] -- COMMAND...\n"
        "       run --interop --program PATH --runner NAME=COMMAND --runner NAME=COMMAND...",
        description="Runs the conformance scenarios of the client libraries against real replicas and a real Redis.",
    )
    parser.add_argument("--program", type=Path, help="the program twintier")
    parser.add_argument("--scenario", action="append", metavar="NAME", help="run only this one (repeatable)")
    parser.add_argument("--file", type=Path, action="append", help="scenarios of this file instead (repeatable)")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--interop", action="store_true", help="run the scenarios in which several libraries take part")
    parser.add_argument("--runner", action="append", default=[], metavar="NAME=COMMAND", help="a runner of --interop")
    parser.add_argument("--jobs", type=int, default=4, help="scenarios at once (4)")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, metavar="SECONDS", help="longest wait of until (30)"
    )
    parser.add_argument("--verbose", action="store_true", help="show every call of a failed scenario")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs, and name it")
    parser.add_argument("--command", help=argparse.SUPPRESS)
    return parser


def _selected(options: argparse.Namespace) -> list[Scenario]:
    files = options.file or [paths.INTEROP if options.interop else paths.SCENARIOS]
    scenarios = [one for file in files for one in scenario.read(file)]
    if not options.scenario:
        return scenarios
    unknown = set(options.scenario) - {one.name for one in scenarios}
    if unknown:
        raise ScenarioError(f"--scenario {', '.join(sorted(unknown))}: there is none of this name")
    return [one for one in scenarios if one.name in options.scenario]


def _commands(options: argparse.Namespace) -> dict[str, list[str]]:
    if options.interop:
        pairs = [text.partition("=") for text in options.runner]
        if len(pairs) < 2 or not all(name and command for name, _, command in pairs):
            raise ScenarioError("--interop: expected at least two --runner NAME=COMMAND")
        return {name: shlex.split(command) for name, _, command in pairs}
    if not options.command:
        raise ScenarioError("the command of the runner is missing: run --program PATH -- COMMAND...")
    return {"runner": shlex.split(options.command)}


def _run(options: argparse.Namespace, scenarios: list[Scenario]) -> int:
    if options.program is None or not os.access(options.program, os.X_OK):
        raise ScenarioError(f"--program {options.program}: expected the path of the program twintier")
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    suite = Suite(options.program.resolve(), folder, _commands(options), options.jobs, options.patience)
    counts = {True: 0, False: 0}

    def report(result: Result) -> None:
        counts[result.failure is None] += 1
        _print(result, options.verbose)

    try:
        passed = asyncio.run(_until_ended(suite.run(scenarios, report)))
    finally:
        if options.keep:
            print(f"logs: {folder}")
        else:
            shutil.rmtree(folder)
    print(f"{counts[True]} passed, {counts[False]} failed")
    return 0 if passed else 1


async def _until_ended(run: Coroutine[Any, Any, bool]) -> bool:
    """Cancels the run on SIGINT and SIGTERM, so that it leaves no process running."""
    task = asyncio.ensure_future(run)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def _print(result: Result, verbose: bool) -> None:
    word = "ok  " if result.failure is None else "FAIL"
    print(f"{word} {result.scenario.name} ({result.seconds:.1f} s)", flush=True)
    if result.failure is None:
        return
    lines = [f"about: {result.scenario.about}", *result.failure.splitlines(), "last calls:"]
    shown = result.transcript if verbose else result.transcript[-_TRANSCRIPT:]
    lines += [f"  {line if verbose or len(line) <= _WIDTH else line[:_WIDTH] + '…'}" for line in shown]
    print("\n".join(f"     {line}" for line in lines), flush=True)
