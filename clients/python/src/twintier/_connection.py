"""Connections: targets, channel options, certificates and metadata."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc

from twintier._errors import UsageError
from twintier._io import CallMetadata
from twintier._observer import log
from twintier._settings import Settings
from twintier.v1.cache_pb2_grpc import CacheServiceStub

SERVICE = "twintier.v1.CacheService"

# docs/rolling-updates.md explains these settings. The library sets the deadline of each call.
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "readiness"},
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        {"name": [{"service": SERVICE, "method": "Watch"}]},
    ],
}


def target(addresses: tuple[str, ...]) -> str:
    """Returns the target of a channel to all addresses."""
    if len(addresses) == 1:
        return addresses[0]
    versions = {_version(address) for address in addresses}
    if len(versions) > 1:
        raise UsageError(f"addresses must all be IPv4 or all be IPv6, was {addresses!r}")
    return f"ipv{versions.pop()}:{','.join(addresses)}"


def _version(address: str) -> int:
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ip_address(host).version
    except ValueError:
        raise UsageError(
            f"several addresses must be IP addresses with ports, was {address!r};"
            " name one DNS name that resolves to all replicas instead"
        ) from None


class Connection:
    """Makes channels to the service. Files are read once, when the client is made."""

    def __init__(self, settings: Settings) -> None:
        self.target = target(settings.addresses)
        self.options = _options(settings)
        self.metadata = MetadataSource(settings)
        self._tls = bool(settings.tls or settings.ca_file or settings.cert_file)
        self._files = {
            "root_certificates": _read("ca_file", settings.ca_file),
            "private_key": _read("key_file", settings.key_file),
            "certificate_chain": _read("cert_file", settings.cert_file),
        }

    def channel(self, library: Any) -> Any:
        """Returns a channel of `grpc` or `grpc.aio`."""
        if not self._tls:
            return library.insecure_channel(self.target, self.options)
        return library.secure_channel(
            self.target, grpc.ssl_channel_credentials(**self._files), self.options
        )


def _options(settings: Settings) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        # The default of two minutes would prolong an outage.
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # The service has its own limits of values.
        ("grpc.max_receive_message_length", 128 * 1024 * 1024),
        # Clients with other certificates or timeouts share no connection.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if settings.server_name:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    # The library would take a path, or all addresses with commas, which are no host names.
    if settings.addresses[0].startswith("unix:"):
        options.append(("grpc.default_authority", "localhost"))
    elif len(settings.addresses) > 1:
        options.append(("grpc.default_authority", settings.addresses[0]))
    return options


def _read(name: str, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error}") from error


def methods(channel: Any) -> dict[str, Any]:
    """Returns the callables of the service's methods by name."""
    return vars(CacheServiceStub(channel))  # type: ignore[no-untyped-call]


class TokenFile:
    """A bearer token in a file, which is read anew when the file changes."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._state, self._header = self._read()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"token_file cannot be read: {error}") from error

    def header(self) -> tuple[str, str]:
        """Returns the metadata that carries the token."""
        try:
            if self._stat() != self._state:
                self._state, self._header = self._read()
        except (OSError, UnicodeDecodeError) as error:
            # The token before may still be accepted while a new one is being written.
            log.warning("token_file cannot be read, the token before is used: %s", error)
        return ("authorization", self._header)

    def _stat(self) -> tuple[int, int, int]:
        status = os.stat(self._path)
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def _read(self) -> tuple[tuple[int, int, int], str]:
        # The state first: a change between the two is noticed by the next call.
        state = self._stat()
        return state, f"Bearer {Path(self._path).read_text(encoding='ascii').strip()}"


class MetadataSource:
    """Metadata of calls: the bearer token, the trace context and that of the caller."""

    def __init__(self, settings: Settings) -> None:
        self._token = TokenFile(settings.token_file) if settings.token_file else None
        self._own = settings.metadata
        self._inject = _trace_context()

    def current(self) -> CallMetadata:
        """Returns the metadata of a call that is made now."""
        metadata = list(self._own()) if self._own else []
        if self._token:
            metadata.append(self._token.header())
        if self._inject:
            self._inject(metadata)
        return metadata or None


def _trace_context() -> Any:
    if find_spec("opentelemetry") is None:
        return None
    try:
        from twintier._tracing import inject
    except ImportError:
        return None
    return inject
