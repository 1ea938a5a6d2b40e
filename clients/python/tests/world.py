"""Real replicas over a real Redis."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 30.0


def until(condition: Callable[[], Any], what: str = "a condition") -> Any:
    """Returns the first true result of `condition`."""
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE} s in vain for {what}")
        time.sleep(0.02)
    return result


def free_port() -> int:
    """Returns a port that nobody uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def program() -> str:
    """Returns the path of the program."""
    path = os.environ.get("TWINTIER") or shutil.which("twintier")
    if not path:
        raise RuntimeError("the variable TWINTIER must name the program twintier")
    return path


class World:
    """A Redis and replicas."""

    def __init__(self, replicas: int = 1, redis: bool = True, **settings: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="twintier-python-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._settings = settings
        self._program = program()
        self.redis_port = free_port() if redis else None
        try:
            self._begin(replicas)
        except BaseException:
            self.close()
            raise

    def _begin(self, replicas: int) -> None:
        if self.redis_port is not None:
            command = ["redis-server", "--port", str(self.redis_port), "--save", ""]
            self._start("redis", [*command, "--dir", str(self._folder)])
        self.ports = [self._replica(number) for number in range(replicas)]
        for port in self.ports:
            until(lambda port=port: self._healthy(port), f"port {port}")

    @property
    def address(self) -> str:
        """The address of the first replica."""
        return self.addresses[0]

    @property
    def addresses(self) -> list[str]:
        """The addresses of all replicas."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    def _replica(self, number: int) -> int:
        port = free_port()
        command = [self._program, "serve", "--listen", f"127.0.0.1:{port}"]
        if self.redis_port is not None:
            command += ["--redis-url", f"redis://127.0.0.1:{self.redis_port}"]
        settings = {"log.level": "warn", "admin.listen": "127.0.0.1:0", **self._settings}
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        self._start(f"replica-{number}", command)
        return port

    def _start(self, name: str, command: list[str]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _healthy(self, port: int) -> bool:
        for process in self._processes:
            if process.poll() is not None:
                logs = "\n".join(path.read_text() for path in self._folder.glob("*.log"))
                raise AssertionError(f"{process.args!r} ended:\n{logs}")
        checks = ["readiness"] if self.redis_port is None else ["readiness", "redis"]
        return all(
            subprocess.run(
                [self._program, "health", check, "--server", f"127.0.0.1:{port}"],
                capture_output=True,
            ).returncode
            == 0
            for check in checks
        )

    def close(self) -> None:
        """Ends all processes."""
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            process.wait()
        shutil.rmtree(self._folder)
