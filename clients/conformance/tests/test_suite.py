"""The whole suite with a fake runner: right behaviour passes, and every mutant is reported.

TWINTIER is the path of the program twintier.
"""

import os
import subprocess
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from conformance import paths

FAKE = [sys.executable, str(paths.FOLDER / "tests" / "fake_runner.py")]
SCENARIOS = [
    "get-of-a-missing-key",
    "set-and-get",
    "get-or-set-hit",
    "get-or-set-miss",
    "loader-fails",
    "loader-fails-for-all",
    "single-flight",
    "cancelled-caller",
    "cancelled-second-caller",
    "fenced-by-invalidate",
    "fenced-by-tag",
    "lease-held-elsewhere-and-filled",
    "service-stopped-and-started",
]
# The fault of each mutant, and the scenario that must report it.
MUTANTS = {
    "no-content-type": "set-and-get",
    "always-loads": "get-or-set-hit",
    "no-single-flight": "single-flight",
    "cancels-others": "cancelled-caller",
    "keeps-lease": "loader-fails",
    "no-fence": "fenced-by-invalidate",
    "does-not-wait": "lease-held-elsewhere-and-filled",
    "fails-closed": "service-stopped-and-started",
    "crashes": "get-of-a-missing-key",
}
INTEROP = ["stampede-over-all-languages", "lease-passes-between-languages", "fenced-by-another-language"]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conformance", "--program", os.environ["TWINTIER"], *arguments]
    return subprocess.run(command, cwd=paths.FOLDER, capture_output=True, text=True, check=False)


def named(scenarios: list[str]) -> list[str]:
    return [part for name in scenarios for part in ("--scenario", name)]


class Suite(unittest.TestCase):
    def test_right_behaviour_passes(self) -> None:
        result = run([*named(SCENARIOS), "--", *FAKE])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn(f"{len(SCENARIOS)} passed, 0 failed", result.stdout)

    def test_every_mutant_is_reported(self) -> None:
        def outcome(mutant: str) -> subprocess.CompletedProcess[str]:
            return run([*named([MUTANTS[mutant]]), "--patience", "3", "--", *FAKE, mutant])

        with ThreadPoolExecutor(3) as pool:
            results = dict(zip(MUTANTS, pool.map(outcome, MUTANTS), strict=True))
        for mutant, result in results.items():
            with self.subTest(mutant=mutant):
                self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
                self.assertIn(f"FAIL {MUTANTS[mutant]}", result.stdout)
                self.assertIn("step ", result.stdout)

    def test_an_operation_that_a_runner_does_not_know_fails_the_scenario(self) -> None:
        result = run(["--scenario", "touch", "--", *FAKE])
        self.assertEqual(result.returncode, 1)
        self.assertIn("unsupported", result.stdout)

    def test_several_runners_take_part(self) -> None:
        runners = [f"--runner={name}={' '.join(FAKE)}" for name in ("a", "b", "c")]
        result = run(["--interop", *named(INTEROP), *runners])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_runners_that_do_not_agree_are_reported(self) -> None:
        runners = [f"--runner={name}={' '.join(FAKE)} does-not-wait" for name in ("a", "b")]
        result = run(["--interop", *named(INTEROP[:1]), "--patience", "3", *runners])
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)

    def test_a_run_that_is_ended_leaves_no_process(self) -> None:
        command = [sys.executable, "-m", "conformance", "--program", os.environ["TWINTIER"], "--", *FAKE]
        with subprocess.Popen(
            command, cwd=paths.FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        ) as run:
            assert run.stdout is not None
            run.stdout.readline()
            run.terminate()
            run.stdout.read()
            self.assertEqual(run.wait(), 130)
        end = time.monotonic() + 30
        with self.assertRaises(ProcessLookupError):
            while time.monotonic() < end:
                os.killpg(run.pid, 0)
                time.sleep(0.1)

    def test_wrong_usage_is_named(self) -> None:
        rows = {
            "there is none of this name": ["--scenario", "no-such", "--", *FAKE],
            "the command of the runner is missing": ["--scenario", "touch"],
            "at least two --runner": ["--interop", "--runner", "a=b"],
        }
        for words, arguments in rows.items():
            with self.subTest(words=words):
                result = run(arguments)
                self.assertEqual(result.returncode, 2)
                self.assertIn(words, result.stderr)
