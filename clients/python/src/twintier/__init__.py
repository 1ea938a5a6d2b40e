"""twintier: a client of the twintier cache service.

`Cache` is for threads, `AsyncCache` for asyncio; their methods are the same.
"""

from twintier._async import AsyncCache, AsyncSession
from twintier._cached import AsyncCached, Cached
from twintier._duration import Duration
from twintier._errors import (
    DeadlineError,
    DeniedError,
    RejectedError,
    ServiceError,
    TwintierError,
    UnauthenticatedError,
    UnavailableError,
    UnreadableError,
    UsageError,
)
from twintier._keys import Template, argument_key
from twintier._lookup import Lookup
from twintier._observer import Counters, Hooks
from twintier._options import (
    AbsentOptions,
    CallOptions,
    LoadOptions,
    ReadOptions,
    WriteOptions,
)
from twintier._serializers import BytesSerializer, JsonSerializer, MsgpackSerializer, Serializer
from twintier._settings import ClientOptions, NearCache
from twintier._sync import Cache, Session

__version__ = "0.1.0"

__all__ = [
    "AbsentOptions",
    "AsyncCache",
    "AsyncCached",
    "AsyncSession",
    "BytesSerializer",
    "Cache",
    "Cached",
    "CallOptions",
    "ClientOptions",
    "Counters",
    "DeadlineError",
    "DeniedError",
    "Duration",
    "Hooks",
    "JsonSerializer",
    "LoadOptions",
    "Lookup",
    "MsgpackSerializer",
    "NearCache",
    "ReadOptions",
    "RejectedError",
    "Serializer",
    "ServiceError",
    "Session",
    "Template",
    "TwintierError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnreadableError",
    "UsageError",
    "WriteOptions",
    "argument_key",
]
