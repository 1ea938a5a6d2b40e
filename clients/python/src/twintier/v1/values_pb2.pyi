import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from twintier.v1 import stats_pb2 as _stats_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSISTENCY_UNSPECIFIED: _ClassVar[Consistency]
    CONSISTENCY_BOUNDED: _ClassVar[Consistency]
    CONSISTENCY_STRONG: _ClassVar[Consistency]

class StaleReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STALE_REASON_UNSPECIFIED: _ClassVar[StaleReason]
    STALE_REASON_EXPIRED: _ClassVar[StaleReason]
    STALE_REASON_UNPROVEN: _ClassVar[StaleReason]
    STALE_REASON_MARKED: _ClassVar[StaleReason]

class MissReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MISS_REASON_UNSPECIFIED: _ClassVar[MissReason]
    MISS_REASON_ABSENT: _ClassVar[MissReason]
    MISS_REASON_UNAVAILABLE: _ClassVar[MissReason]
    MISS_REASON_TOKEN_NOT_REACHED: _ClassVar[MissReason]
    MISS_REASON_DISABLED: _ClassVar[MissReason]
    MISS_REASON_LEASED: _ClassVar[MissReason]

class SetOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SET_OUTCOME_UNSPECIFIED: _ClassVar[SetOutcome]
    SET_OUTCOME_STORED: _ClassVar[SetOutcome]
    SET_OUTCOME_ALREADY_PRESENT: _ClassVar[SetOutcome]
    SET_OUTCOME_NOT_PRESENT: _ClassVar[SetOutcome]
    SET_OUTCOME_VERSION_MISMATCH: _ClassVar[SetOutcome]
    SET_OUTCOME_DISABLED: _ClassVar[SetOutcome]
    SET_OUTCOME_LEASE_VOID: _ClassVar[SetOutcome]
    SET_OUTCOME_SOURCE_VERSION_OLDER: _ClassVar[SetOutcome]

class Barrier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BARRIER_UNSPECIFIED: _ClassVar[Barrier]
    BARRIER_NONE: _ClassVar[Barrier]
    BARRIER_FLEET: _ClassVar[Barrier]

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_REMOVE: _ClassVar[Mode]
    MODE_MARK_STALE: _ClassVar[Mode]
CONSISTENCY_UNSPECIFIED: Consistency
CONSISTENCY_BOUNDED: Consistency
CONSISTENCY_STRONG: Consistency
STALE_REASON_UNSPECIFIED: StaleReason
STALE_REASON_EXPIRED: StaleReason
STALE_REASON_UNPROVEN: StaleReason
STALE_REASON_MARKED: StaleReason
MISS_REASON_UNSPECIFIED: MissReason
MISS_REASON_ABSENT: MissReason
MISS_REASON_UNAVAILABLE: MissReason
MISS_REASON_TOKEN_NOT_REACHED: MissReason
MISS_REASON_DISABLED: MissReason
MISS_REASON_LEASED: MissReason
SET_OUTCOME_UNSPECIFIED: SetOutcome
SET_OUTCOME_STORED: SetOutcome
SET_OUTCOME_ALREADY_PRESENT: SetOutcome
SET_OUTCOME_NOT_PRESENT: SetOutcome
SET_OUTCOME_VERSION_MISMATCH: SetOutcome
SET_OUTCOME_DISABLED: SetOutcome
SET_OUTCOME_LEASE_VOID: SetOutcome
SET_OUTCOME_SOURCE_VERSION_OLDER: SetOutcome
BARRIER_UNSPECIFIED: Barrier
BARRIER_NONE: Barrier
BARRIER_FLEET: Barrier
MODE_UNSPECIFIED: Mode
MODE_REMOVE: Mode
MODE_MARK_STALE: Mode

class Hit(_message.Message):
    __slots__ = ("value", "content_type", "entry")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    content_type: str
    entry: EntryInfo
    def __init__(self, value: _Optional[bytes] = ..., content_type: _Optional[str] = ..., entry: _Optional[_Union[EntryInfo, _Mapping]] = ...) -> None: ...

class NegativeHit(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: EntryInfo
    def __init__(self, entry: _Optional[_Union[EntryInfo, _Mapping]] = ...) -> None: ...

class Miss(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: MissReason
    def __init__(self, reason: _Optional[_Union[MissReason, str]] = ...) -> None: ...

class EntryInfo(_message.Message):
    __slots__ = ("version", "age", "ttl", "tier", "stale", "refresh_due", "source_version", "tags")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    REFRESH_DUE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    version: str
    age: _duration_pb2.Duration
    ttl: _duration_pb2.Duration
    tier: _stats_pb2.Tier
    stale: Stale
    refresh_due: bool
    source_version: int
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tier: _Optional[_Union[_stats_pb2.Tier, str]] = ..., stale: _Optional[_Union[Stale, _Mapping]] = ..., refresh_due: bool = ..., source_version: _Optional[int] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class Stale(_message.Message):
    __slots__ = ("reason", "staleness")
    REASON_FIELD_NUMBER: _ClassVar[int]
    STALENESS_FIELD_NUMBER: _ClassVar[int]
    reason: StaleReason
    staleness: _duration_pb2.Duration
    def __init__(self, reason: _Optional[_Union[StaleReason, str]] = ..., staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("code", "message", "retry_delay", "outcome_unknown_for")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_UNKNOWN_FOR_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    retry_delay: _duration_pb2.Duration
    outcome_unknown_for: _duration_pb2.Duration
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., retry_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., outcome_unknown_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
