"""Runners that break the protocol."""

import asyncio
import sys
import tempfile
import unittest
from pathlib import Path

from conformance.errors import RunnerEnded
from conformance.runner import Runner

ECHO = """
import sys, json
for line in sys.stdin: print(json.dumps({'id': json.loads(line)['id'], 'result': {'line': line}}), flush=True)
"""
SWAPPED = """
import sys, json
first, second = (json.loads(sys.stdin.readline()) for _ in range(2))
for one in (second, first): print(json.dumps({'id': one['id'], 'result': {'op': one['op']}}), flush=True)
sys.stdin.read()
"""
# After the first request: the words of the report, and what the runner does.
BROKEN = {
    "a line that is not an answer": "print('hello', flush=True); sys.stdin.read()",
    "which was not asked": 'print(\'{"id": 9, "result": {}}\', flush=True); sys.stdin.read()',
    "neither a result nor an error": "print('{\"id\": 1}', flush=True); sys.stdin.read()",
    "ended with 3": "sys.exit(3)",
    "last words": "print('last words', file=sys.stderr); sys.exit(1)",
}


class Runners(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    async def start(self, program: str) -> Runner:
        runner = Runner("r", [sys.executable, "-c", program], Path(self.folder.name) / "log")
        await runner.start()
        self.addAsyncCleanup(runner.stop)
        return runner

    async def test_an_answer_reaches_its_caller(self) -> None:
        runner = await self.start(ECHO)
        answers = await asyncio.gather(*(runner.call("get", {"key": f"ключ {i}"}) for i in range(20)))
        for number, answer in enumerate(answers):
            self.assertIn(f"ключ {number}", answer["line"])

    async def test_answers_come_in_any_order(self) -> None:
        runner = await self.start(SWAPPED)
        answers = await asyncio.gather(runner.call("a", {}), runner.call("b", {}))
        self.assertEqual(answers, [{"op": "a"}, {"op": "b"}])

    async def test_a_runner_that_breaks_the_protocol_is_reported(self) -> None:
        for words, program in BROKEN.items():
            with self.subTest(words=words):
                runner = await self.start(f"import sys; sys.stdin.readline(); {program}")
                with self.assertRaises(RunnerEnded) as raised:
                    await runner.call("get", {})
                self.assertIn(words, str(raised.exception))
                with self.assertRaises(RunnerEnded):
                    runner.send("get", {})

    async def test_a_command_that_does_not_exist_is_reported(self) -> None:
        runner = Runner("r", ["/nowhere/runner"], Path(self.folder.name) / "log")
        with self.assertRaises(RunnerEnded):
            await runner.start()
            await runner.call("get", {})
