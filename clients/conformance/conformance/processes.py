"""Child processes: start, wait until they serve, signals, end."""

import asyncio
import shutil
import signal
from pathlib import Path

# Longest wait for anything that a busy machine may delay.
PATIENCE = 30.0
_SETPRIV = shutil.which("setpriv")
# Ends a child with the harness, however that ends. Where there is no setpriv the harness ends it.
TIED = [_SETPRIV, "--pdeathsig", "KILL"] if _SETPRIV else []


class Child:
    """A process that can be started again with the same command, and whose output goes to a file."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *TIED, *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

    def send(self, number: signal.Signals) -> None:
        if self._process is None or not self.running:
            raise RuntimeError(f"{self.name} does not run")
        self._process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends the signal and waits for the end; kills a process that does not end."""
        if self._process is None or not self.running:
            return
        self._process.send_signal(number)
        try:
            await asyncio.wait_for(self._process.wait(), PATIENCE)
        except asyncio.TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def freeze(self) -> None:
        """Stops the process, and waits until each of its threads has stopped."""
        self.send(signal.SIGSTOP)
        assert self._process is not None
        tasks = Path(f"/proc/{self._process.pid}/task")
        while any(not _stopped(task) for task in tasks.glob("*/stat")):
            await asyncio.sleep(0.002)

    def kill(self) -> None:
        """Kills the process at once, without waiting for its end."""
        if self._process is not None and self.running:
            self._process.kill()

    def tail(self, lines: int = 20) -> str:
        """Returns the last lines of the output."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def _stopped(stat: Path) -> bool:
    """Reads the state of a thread: the field after its name, which is in parentheses."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        # The thread has ended.
        return True
