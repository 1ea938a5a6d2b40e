"""Errors that the library raises, and their origin in gRPC's errors."""

from __future__ import annotations

from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "twintier.dev"


class TwintierError(Exception):
    """The base class of all errors of this library."""

    kind: ClassVar[str] = "error"


class UsageError(TwintierError, ValueError):
    """Wrong arguments, found by the library before any call. Raised also without `strict`."""

    kind = "usage"


class UnreadableError(TwintierError):
    """A stored value that the serializer cannot read. Reads count it as a miss."""

    kind = "unreadable"


class ServiceError(TwintierError):
    """A failed call of the service. Raised only with `strict`."""

    kind = "service"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        fields: tuple[str, ...] = (),
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        """The reason in the service's ErrorInfo, such as `L2_UNAVAILABLE`, or an empty text."""
        self.fields = fields
        """The fields of the request that break rules."""
        self.retry_delay = retry_delay
        """Seconds after which to retry, if the service named a time."""


class UnavailableError(ServiceError):
    """The service is away, or Redis did not take a write."""

    kind = "unavailable"


class DeadlineError(ServiceError):
    """The call did not end within its timeout."""

    kind = "deadline"


class RejectedError(ServiceError):
    """The service refused the request: a field, a limit or a quota."""

    kind = "rejected"


class UnauthenticatedError(ServiceError):
    """The service accepted no credential of the call."""

    kind = "unauthenticated"


class DeniedError(ServiceError):
    """No grant of the caller allows the call."""

    kind = "denied"


_CLASSES: dict[grpc.StatusCode, type[ServiceError]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: DeniedError,
}


def item_error(item: Any) -> ServiceError:
    """Converts the error of an item of a batch."""
    code = next((c for c in grpc.StatusCode if c.value[0] == item.code), grpc.StatusCode.UNKNOWN)
    delay = item.retry_delay.ToTimedelta().total_seconds() or None
    return _CLASSES.get(code, RejectedError)(f"{code.name}: {item.message}", retry_delay=delay)


def service_error(error: grpc.RpcError) -> ServiceError:
    """Converts an error of gRPC, with the details that the service attached."""
    call: Any = error
    kind = _CLASSES.get(call.code(), RejectedError)
    details: dict[str, Any] = {}
    for detail in _details(call):
        _read(detail, details)
    return kind(f"{call.code().name}: {call.details()}", **details)


def _details(call: Any) -> list[Any]:
    for name, value in call.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:
                return []
    return []


def _read(detail: Any, into: dict[str, Any]) -> None:
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    if detail.Unpack(info) and info.domain == DOMAIN:
        into["reason"] = info.reason
    elif detail.Unpack(request):
        into["fields"] = tuple(violation.field for violation in request.field_violations)
    elif detail.Unpack(retry):
        into["retry_delay"] = retry.retry_delay.ToTimedelta().total_seconds()
