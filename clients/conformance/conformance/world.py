"""A world: one Redis, replicas of the service, and the faults that befall them."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import yaml

from conformance import pki, rpc
from conformance.errors import ScenarioError
from conformance.ports import free_port
from conformance.processes import PATIENCE, Child
from conformance.relay import Relay

# Settings of every replica. No random early refresh, no waiting at a stop, and patience with a Redis on a
# busy machine.
SETTINGS = {
    "cache": {"early_refresh": 0},
    "drain": {"delay": "0s", "timeout": "5s"},
    "redis": {"read_timeout": "3s", "write_timeout": "4s", "unresponsive_after": "3s"},
    "warm_start": {"enabled": False},
    "limits": {"namespaces": 4096},
    "admin": {"enabled": False},
}


class World:
    """Processes of one Redis and of some replicas, in a folder of their own."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        replicas: int = 2,
        settings: dict[str, Any] | None = None,
        namespaces: dict[str, Any] | None = None,
        secure: bool = False,
        relays: bool = False,
    ) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.secure = secure
        self.tokens = pki.write_all(folder) if secure else {}
        self._redis_port = free_port()
        self._redis = Child("redis", _redis_command(self._redis_port, folder), folder / "redis.log")
        self._relay_ports = [free_port() for _ in range(replicas)] if relays else []
        self._relays = [Relay(self._redis_port) for _ in self._relay_ports]
        self.ports = [free_port() for _ in range(replicas)]
        config = folder / "twintier.yaml"
        config.write_text(yaml.safe_dump(self._config(settings or {}, namespaces or {})))
        self.replicas = [
            Child(f"replica {number}", self._command(program, config, number), folder / f"replica-{number}.log")
            for number in range(replicas)
        ]
        self._channels: list[grpc.aio.Channel] = []

    def _config(self, settings: dict[str, Any], namespaces: dict[str, Any]) -> dict[str, Any]:
        config: dict[str, Any] = {**SETTINGS, "namespaces": namespaces}
        if self.secure:
            config = {**config, **self._security()}
        for path, value in settings.items():
            section, name = path.split(".")
            config[section] = {**config.get(section, {}), name: value}
        return config

    def _security(self) -> dict[str, Any]:
        (self.folder / "hashes").write_text("\n".join(pki.token_hash(self.tokens[n]) for n in ("first", "second")))
        everything = {"namespaces": ["*"], "verbs": ["read", "write", "invalidate", "watch", "stats", "admin"]}

        def file(name: str) -> str:
            return str(self.folder / name)

        return {
            "tls": {
                "cert_file": file("server.pem"),
                "key_file": file("server-key.pem"),
                "client_ca_file": file("ca.pem"),
            },
            "auth": {"mode": "enforce", "reload_interval": "100ms"},
            "identities": {
                "caller": {"token_hashes_file": file("hashes"), "grants": [everything]},
                "reader": {
                    "token_hashes": [pki.token_hash(self.tokens["reader"])],
                    "grants": [{"namespaces": ["*"], "verbs": ["read"]}],
                },
                "machine": {"certificates": [pki.CLIENT_URI], "grants": [everything]},
            },
        }

    def _command(self, program: Path, config: Path, number: int) -> list[str]:
        redis = self._relay_ports[number] if self._relay_ports else self._redis_port
        listen = f"127.0.0.1:{self.ports[number]}"
        return [
            str(program),
            "serve",
            "--config",
            str(config),
            "--listen",
            listen,
            "--redis-url",
            f"redis://127.0.0.1:{redis}",
        ]

    async def start(self) -> None:
        await self._start_redis()
        for relay, port in zip(self._relays, self._relay_ports, strict=True):
            await relay.start(port)
        await asyncio.gather(*(self._start_replica(number) for number in range(len(self.replicas))))
        self._channels = [self._channel(port) for port in self.ports]

    async def stop(self) -> None:
        # At once: a run that is interrupted may not come to the rest.
        for child in [*self.replicas, self._redis]:
            child.kill()
        for channel in self._channels:
            await channel.close()
        for child in [*self.replicas, self._redis]:
            await child.end()
        for relay in self._relays:
            await relay.stop()

    async def raw(self, replica: int, method: str, request: dict[str, Any], token: str | None) -> dict[str, Any]:
        return await rpc.call(self._channels[replica], method, request, token)

    async def fault(self, kind: str, replica: int) -> None:
        """Injects a fault, or ends one."""
        child = self.replicas[replica]
        faults: dict[str, Callable[[], Awaitable[None]]] = {
            "stop": lambda: child.end(signal.SIGINT),
            "kill": lambda: child.end(),
            "start": lambda: self._start_replica(replica),
            "freeze": child.freeze,
            "thaw": lambda: _send(child, signal.SIGCONT),
            "kill_redis": lambda: self._redis.end(),
            "start_redis": lambda: self._start_redis(),
            "freeze_redis": self._redis.freeze,
            "thaw_redis": lambda: _send(self._redis, signal.SIGCONT),
            "hold_messages": lambda: self._relay(replica, Relay.hold),
            "release_messages": lambda: self._relay(replica, Relay.release),
        }
        if kind not in faults:
            raise ScenarioError(f"fault {kind!r}: expected one of {', '.join(faults)}")
        await faults[kind]()

    async def _relay(self, replica: int, action: Any) -> None:
        if not self._relays:
            raise ScenarioError("holding messages needs `relays: true` in the scenario's world")
        action(self._relays[replica])

    async def _start_redis(self) -> None:
        await self._redis.start()
        await self._wait(self._redis, self._redis_answers)

    async def _redis_answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._redis_port)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        return answer.startswith(b"+PONG")

    async def _start_replica(self, number: int) -> None:
        child = self.replicas[number]
        await child.start()
        async with self._channel(self.ports[number]) as channel:
            # While Redis is down, or unreachable on purpose, serving is enough.
            service = b"\x0a\x05redis" if self._redis.running else b""

            async def serves() -> bool:
                check = channel.unary_unary("/grpc.health.v1.Health/Check")
                try:
                    return bool(await check(service, timeout=2.0, wait_for_ready=True) == b"\x08\x01")
                except grpc.aio.AioRpcError:
                    return False

            await self._wait(child, serves)

    async def _wait(self, child: Child, ready: Any) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while not await ready():
            if not child.running or loop.time() > end:
                raise RuntimeError(f"{child.name} does not serve:\n{child.tail()}")
            await asyncio.sleep(0.02)

    def _channel(self, port: int) -> grpc.aio.Channel:
        options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)]
        if not self.secure:
            return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options)
        credentials = grpc.ssl_channel_credentials((self.folder / "ca.pem").read_bytes())
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)


async def _send(child: Child, number: signal.Signals) -> None:
    child.send(number)


def _redis_command(port: int, folder: Path) -> list[str]:
    options = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": "", "appendonly": "no"}
    return ["redis-server", *(part for name, value in options.items() for part in (f"--{name}", value))]
