"""A runner: a process that carries out operations with a library. JSON lines both ways."""

import asyncio
import contextlib
import itertools
import json
from pathlib import Path
from typing import Any

from conformance.errors import Mismatch, RunnerEnded
from conformance.processes import TIED

# A limit of asyncio's reader, for lines with large values.
_LINE_LIMIT = 64 * 1024 * 1024
# Longest wait for an answer: more than any wait that a scenario provokes.
ANSWER_LIMIT = 60.0
# Time to end after the end of standard input.
_END_LIMIT = 10.0


class Runner:
    """Sends operations, and hands each answer to the caller that waits for it."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ended: str | None = None

    async def start(self) -> None:
        self._ended = None
        with self._log.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *TIED,
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    limit=_LINE_LIMIT,
                )
            except OSError as error:
                raise RunnerEnded(f"runner {self.name} cannot be started: {error}") from error
        self._reading = asyncio.create_task(self._read(self._process))

    @property
    def running(self) -> bool:
        return self._process is not None and self._ended is None

    async def stop(self) -> None:
        """Ends its standard input, and kills it if it does not end."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_LIMIT)
        except asyncio.TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    def send(self, op: str, arguments: dict[str, Any]) -> "Call":
        """Starts an operation."""
        if self._ended is not None or self._process is None or self._process.stdin is None:
            raise RunnerEnded(self._ended or f"runner {self.name} was not started")
        number = next(self._ids)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        line = json.dumps({"id": number, "op": op, **arguments}, ensure_ascii=False)
        self._process.stdin.write(line.encode() + b"\n")
        return Call(number, answer)

    async def call(self, op: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self.send(op, arguments).answer()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        reason = ""
        try:
            assert process.stdout is not None
            while line := await process.stdout.readline():
                self._take(line)
        except (ValueError, KeyError) as error:
            reason = f": {error}"
            process.kill()
        code = await process.wait()
        self._ended = f"runner {self.name} ended with {code}{reason}{self._tail()}"
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(RunnerEnded(self._ended))
                # An operation that nobody awaits must not be reported by asyncio, too.
                answer.exception()
        self._waiting.clear()

    def _take(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
            number = answer["id"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"a line that is not an answer: {line[:200]!r}") from None
        if number not in self._waiting:
            raise ValueError(f"an answer to {number!r}, which was not asked or is answered already")
        whole = isinstance(answer.get("result", answer.get("error")), dict)
        if not whole or ("result" in answer) == ("error" in answer):
            raise ValueError(f"neither a result nor an error: {line[:200]!r}")
        waiting = self._waiting.pop(number)
        if not waiting.done():
            waiting.set_result(answer)

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").splitlines()[-15:]
            return "".join(f"\n    {line}" for line in lines)
        return ""


class Call:
    """An operation that goes on."""

    def __init__(self, number: int, answer: asyncio.Future[dict[str, Any]]) -> None:
        self.id = number
        self._answer = answer

    async def answer(self) -> dict[str, Any]:
        """Returns the result, or `{"error": {"kind": …}}`."""
        try:
            answer = await asyncio.wait_for(asyncio.shield(self._answer), ANSWER_LIMIT)
        except asyncio.TimeoutError:
            raise Mismatch(f"no answer within {ANSWER_LIMIT:.0f} s") from None
        return answer["result"] if "result" in answer else {"error": answer["error"]}
