import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChangeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_KIND_UNSPECIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_SET: _ClassVar[ChangeKind]
    CHANGE_KIND_REMOVED: _ClassVar[ChangeKind]
    CHANGE_KIND_MARKED_STALE: _ClassVar[ChangeKind]
    CHANGE_KIND_SHORTENED: _ClassVar[ChangeKind]

class DiscontinuityReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISCONTINUITY_REASON_UNSPECIFIED: _ClassVar[DiscontinuityReason]
    DISCONTINUITY_REASON_SLOW_WATCHER: _ClassVar[DiscontinuityReason]
    DISCONTINUITY_REASON_GAP: _ClassVar[DiscontinuityReason]
    DISCONTINUITY_REASON_TOO_OLD: _ClassVar[DiscontinuityReason]
CHANGE_KIND_UNSPECIFIED: ChangeKind
CHANGE_KIND_SET: ChangeKind
CHANGE_KIND_REMOVED: ChangeKind
CHANGE_KIND_MARKED_STALE: ChangeKind
CHANGE_KIND_SHORTENED: ChangeKind
DISCONTINUITY_REASON_UNSPECIFIED: DiscontinuityReason
DISCONTINUITY_REASON_SLOW_WATCHER: DiscontinuityReason
DISCONTINUITY_REASON_GAP: DiscontinuityReason
DISCONTINUITY_REASON_TOO_OLD: DiscontinuityReason

class WatchRequest(_message.Message):
    __slots__ = ("namespace", "prefix", "tag", "tokens", "heartbeat_interval")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    prefix: str
    tag: str
    tokens: _containers.RepeatedScalarFieldContainer[str]
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, namespace: _Optional[str] = ..., prefix: _Optional[str] = ..., tag: _Optional[str] = ..., tokens: _Optional[_Iterable[str]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("change", "discontinuity", "heartbeat")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    DISCONTINUITY_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    change: WatchChange
    discontinuity: WatchDiscontinuity
    heartbeat: WatchHeartbeat
    def __init__(self, change: _Optional[_Union[WatchChange, _Mapping]] = ..., discontinuity: _Optional[_Union[WatchDiscontinuity, _Mapping]] = ..., heartbeat: _Optional[_Union[WatchHeartbeat, _Mapping]] = ...) -> None: ...

class WatchChange(_message.Message):
    __slots__ = ("epoch", "sequence", "partition", "kind", "keys", "prefix", "pattern", "tag", "whole_namespace", "token")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    WHOLE_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    sequence: int
    partition: int
    kind: ChangeKind
    keys: WatchKeys
    prefix: str
    pattern: str
    tag: str
    whole_namespace: bool
    token: str
    def __init__(self, epoch: _Optional[int] = ..., sequence: _Optional[int] = ..., partition: _Optional[int] = ..., kind: _Optional[_Union[ChangeKind, str]] = ..., keys: _Optional[_Union[WatchKeys, _Mapping]] = ..., prefix: _Optional[str] = ..., pattern: _Optional[str] = ..., tag: _Optional[str] = ..., whole_namespace: bool = ..., token: _Optional[str] = ...) -> None: ...

class WatchKeys(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, keys: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchDiscontinuity(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: DiscontinuityReason
    def __init__(self, reason: _Optional[_Union[DiscontinuityReason, str]] = ...) -> None: ...

class WatchHeartbeat(_message.Message):
    __slots__ = ("token", "proof_age", "elapsed")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROOF_AGE_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    token: str
    proof_age: _duration_pb2.Duration
    elapsed: _duration_pb2.Duration
    def __init__(self, token: _Optional[str] = ..., proof_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
