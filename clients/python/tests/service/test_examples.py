from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from world import World, free_port, until

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def served(folder: str, command: list[str], world: World) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, *(part.format(port=port) for part in command)],
        cwd=EXAMPLES / folder,
        env={**os.environ, "TWINTIER_SERVER": world.address, "CACHE_TIMEOUT": "30s"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    base = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answer(f"{base}/products/1")[0] or process.poll() is not None, folder)
        yield base
    finally:
        process.terminate()
        output, _ = process.communicate()
        print(output.decode())


def answer(url: str, method: str = "GET", data: bytes | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(url, method=method, data=data)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, None
    except urllib.error.URLError:
        return 0, None


def test_the_example_of_fastapi(world: World) -> None:
    command = ["-m", "uvicorn", "app:app", "--port", "{port}"]
    with served("fastapi", command, world) as base:
        assert answer(f"{base}/products/1") == (200, {"name": "chair", "price": 10})
        assert answer(f"{base}/products/7")[0] == 404
        assert answer(f"{base}/products/7")[0] == 404
        assert answer(f"{base}/products/1?price=12", "PUT")[0] == 200
        assert answer(f"{base}/products/1")[1]["price"] == 12
        assert answer(f"{base}/products/1")[1]["price"] == 12
        assert answer(f"{base}/queries")[1] == 3


def test_the_example_of_django(world: World) -> None:
    command = ["manage.py", "runserver", "--noreload", "--nothreading", "{port}"]
    with served("django", command, world) as base:
        assert answer(f"{base}/products/1") == (200, {"name": "chair", "price": 10})
        assert answer(f"{base}/products/7")[0] == 404
        assert answer(f"{base}/products/1", "POST", b"price=12")[1]["price"] == 12
        assert answer(f"{base}/products/1")[1]["price"] == 12
        numbers = answer(f"{base}/numbers")[1]
        assert numbers["visits"] >= 4
        assert numbers["queries"] == 3
