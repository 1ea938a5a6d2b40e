import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from twintier.v1 import stats_pb2 as _stats_pb2
from twintier.v1 import values_pb2 as _values_pb2
from twintier.v1 import watch_pb2 as _watch_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeaseWait(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEASE_WAIT_UNSPECIFIED: _ClassVar[LeaseWait]
    LEASE_WAIT_UNTIL_DEADLINE: _ClassVar[LeaseWait]
    LEASE_WAIT_NONE: _ClassVar[LeaseWait]

class TouchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOUCH_MODE_UNSPECIFIED: _ClassVar[TouchMode]
    TOUCH_MODE_OVERWRITE: _ClassVar[TouchMode]
    TOUCH_MODE_EXTEND: _ClassVar[TouchMode]
    TOUCH_MODE_SHORTEN: _ClassVar[TouchMode]

class TouchOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOUCH_OUTCOME_UNSPECIFIED: _ClassVar[TouchOutcome]
    TOUCH_OUTCOME_TOUCHED: _ClassVar[TouchOutcome]
    TOUCH_OUTCOME_UNCHANGED: _ClassVar[TouchOutcome]
    TOUCH_OUTCOME_NOT_PRESENT: _ClassVar[TouchOutcome]
    TOUCH_OUTCOME_DISABLED: _ClassVar[TouchOutcome]
LEASE_WAIT_UNSPECIFIED: LeaseWait
LEASE_WAIT_UNTIL_DEADLINE: LeaseWait
LEASE_WAIT_NONE: LeaseWait
TOUCH_MODE_UNSPECIFIED: TouchMode
TOUCH_MODE_OVERWRITE: TouchMode
TOUCH_MODE_EXTEND: TouchMode
TOUCH_MODE_SHORTEN: TouchMode
TOUCH_OUTCOME_UNSPECIFIED: TouchOutcome
TOUCH_OUTCOME_TOUCHED: TouchOutcome
TOUCH_OUTCOME_UNCHANGED: TouchOutcome
TOUCH_OUTCOME_NOT_PRESENT: TouchOutcome
TOUCH_OUTCOME_DISABLED: TouchOutcome

class GetRequest(_message.Message):
    __slots__ = ("namespace", "key", "consistency", "max_staleness", "tokens", "metadata_only", "lease", "stale_if_error")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    METADATA_ONLY_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    STALE_IF_ERROR_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    consistency: _values_pb2.Consistency
    max_staleness: _duration_pb2.Duration
    tokens: _containers.RepeatedScalarFieldContainer[str]
    metadata_only: bool
    lease: LeaseOptions
    stale_if_error: bool
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., consistency: _Optional[_Union[_values_pb2.Consistency, str]] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tokens: _Optional[_Iterable[str]] = ..., metadata_only: bool = ..., lease: _Optional[_Union[LeaseOptions, _Mapping]] = ..., stale_if_error: bool = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("hit", "negative_hit", "miss", "token", "degraded", "lease")
    HIT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_HIT_FIELD_NUMBER: _ClassVar[int]
    MISS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    hit: _values_pb2.Hit
    negative_hit: _values_pb2.NegativeHit
    miss: _values_pb2.Miss
    token: str
    degraded: bool
    lease: Lease
    def __init__(self, hit: _Optional[_Union[_values_pb2.Hit, _Mapping]] = ..., negative_hit: _Optional[_Union[_values_pb2.NegativeHit, _Mapping]] = ..., miss: _Optional[_Union[_values_pb2.Miss, _Mapping]] = ..., token: _Optional[str] = ..., degraded: bool = ..., lease: _Optional[_Union[Lease, _Mapping]] = ...) -> None: ...

class LeaseOptions(_message.Message):
    __slots__ = ("duration", "wait")
    DURATION_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    duration: _duration_pb2.Duration
    wait: LeaseWait
    def __init__(self, duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., wait: _Optional[_Union[LeaseWait, str]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("id", "duration")
    ID_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    id: str
    duration: _duration_pb2.Duration
    def __init__(self, id: _Optional[str] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SetRequest(_message.Message):
    __slots__ = ("namespace", "key", "value", "known_absent", "content_type", "ttl", "expire_time", "no_expiry", "sliding", "if_absent", "if_present", "if_version", "lease", "tokens", "barrier", "source_version", "soft_ttl", "jitter", "tags", "request_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_ABSENT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    NO_EXPIRY_FIELD_NUMBER: _ClassVar[int]
    SLIDING_FIELD_NUMBER: _ClassVar[int]
    IF_ABSENT_FIELD_NUMBER: _ClassVar[int]
    IF_PRESENT_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    BARRIER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SOFT_TTL_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    value: bytes
    known_absent: KnownAbsent
    content_type: str
    ttl: _duration_pb2.Duration
    expire_time: _timestamp_pb2.Timestamp
    no_expiry: NoExpiry
    sliding: Sliding
    if_absent: IfAbsent
    if_present: IfPresent
    if_version: str
    lease: str
    tokens: _containers.RepeatedScalarFieldContainer[str]
    barrier: _values_pb2.Barrier
    source_version: int
    soft_ttl: _duration_pb2.Duration
    jitter: float
    tags: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ..., known_absent: _Optional[_Union[KnownAbsent, _Mapping]] = ..., content_type: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., no_expiry: _Optional[_Union[NoExpiry, _Mapping]] = ..., sliding: _Optional[_Union[Sliding, _Mapping]] = ..., if_absent: _Optional[_Union[IfAbsent, _Mapping]] = ..., if_present: _Optional[_Union[IfPresent, _Mapping]] = ..., if_version: _Optional[str] = ..., lease: _Optional[str] = ..., tokens: _Optional[_Iterable[str]] = ..., barrier: _Optional[_Union[_values_pb2.Barrier, str]] = ..., source_version: _Optional[int] = ..., soft_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., jitter: _Optional[float] = ..., tags: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class NoExpiry(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Sliding(_message.Message):
    __slots__ = ("idle", "max_ttl")
    IDLE_FIELD_NUMBER: _ClassVar[int]
    MAX_TTL_FIELD_NUMBER: _ClassVar[int]
    idle: _duration_pb2.Duration
    max_ttl: _duration_pb2.Duration
    def __init__(self, idle: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class KnownAbsent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class IfAbsent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class IfPresent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetResponse(_message.Message):
    __slots__ = ("outcome", "version", "token")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    outcome: _values_pb2.SetOutcome
    version: str
    token: str
    def __init__(self, outcome: _Optional[_Union[_values_pb2.SetOutcome, str]] = ..., version: _Optional[str] = ..., token: _Optional[str] = ...) -> None: ...

class InvalidateRequest(_message.Message):
    __slots__ = ("namespace", "key", "keys", "whole_namespace", "prefix", "pattern", "tags", "event", "tokens", "barrier", "mode", "source_version", "namespaces", "all_namespaces")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    WHOLE_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    BARRIER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    ALL_NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    keys: Keys
    whole_namespace: WholeNamespace
    prefix: str
    pattern: str
    tags: Tags
    event: Event
    tokens: _containers.RepeatedScalarFieldContainer[str]
    barrier: _values_pb2.Barrier
    mode: _values_pb2.Mode
    source_version: int
    namespaces: _containers.RepeatedScalarFieldContainer[str]
    all_namespaces: bool
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., whole_namespace: _Optional[_Union[WholeNamespace, _Mapping]] = ..., prefix: _Optional[str] = ..., pattern: _Optional[str] = ..., tags: _Optional[_Union[Tags, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., tokens: _Optional[_Iterable[str]] = ..., barrier: _Optional[_Union[_values_pb2.Barrier, str]] = ..., mode: _Optional[_Union[_values_pb2.Mode, str]] = ..., source_version: _Optional[int] = ..., namespaces: _Optional[_Iterable[str]] = ..., all_namespaces: bool = ...) -> None: ...

class Tags(_message.Message):
    __slots__ = ("tags",)
    TAGS_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tags: _Optional[_Iterable[str]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("name", "parameters")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    parameters: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., parameters: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Keys(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, keys: _Optional[_Iterable[str]] = ...) -> None: ...

class WholeNamespace(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InvalidateResponse(_message.Message):
    __slots__ = ("removed", "token", "applied", "namespaces")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    removed: int
    token: str
    applied: _containers.RepeatedScalarFieldContainer[str]
    namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceInvalidation]
    def __init__(self, removed: _Optional[int] = ..., token: _Optional[str] = ..., applied: _Optional[_Iterable[str]] = ..., namespaces: _Optional[_Iterable[_Union[NamespaceInvalidation, _Mapping]]] = ...) -> None: ...

class NamespaceInvalidation(_message.Message):
    __slots__ = ("namespace", "removed")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    removed: int
    def __init__(self, namespace: _Optional[str] = ..., removed: _Optional[int] = ...) -> None: ...

class TouchRequest(_message.Message):
    __slots__ = ("namespace", "key", "ttl", "expire_time", "no_expiry", "mode", "tokens")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    NO_EXPIRY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    ttl: _duration_pb2.Duration
    expire_time: _timestamp_pb2.Timestamp
    no_expiry: NoExpiry
    mode: TouchMode
    tokens: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., no_expiry: _Optional[_Union[NoExpiry, _Mapping]] = ..., mode: _Optional[_Union[TouchMode, str]] = ..., tokens: _Optional[_Iterable[str]] = ...) -> None: ...

class TouchResponse(_message.Message):
    __slots__ = ("outcome", "version", "ttl", "token")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    outcome: TouchOutcome
    version: str
    ttl: _duration_pb2.Duration
    token: str
    def __init__(self, outcome: _Optional[_Union[TouchOutcome, str]] = ..., version: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class ReleaseLeaseRequest(_message.Message):
    __slots__ = ("namespace", "key", "lease", "failed", "retry_after")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    lease: str
    failed: bool
    retry_after: _duration_pb2.Duration
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., lease: _Optional[str] = ..., failed: bool = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReleaseLeaseResponse(_message.Message):
    __slots__ = ("released", "stale")
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    released: bool
    stale: _values_pb2.Hit
    def __init__(self, released: bool = ..., stale: _Optional[_Union[_values_pb2.Hit, _Mapping]] = ...) -> None: ...

class BatchGetRequest(_message.Message):
    __slots__ = ("namespace", "keys", "consistency", "max_staleness", "tokens", "metadata_only")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    METADATA_ONLY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    consistency: _values_pb2.Consistency
    max_staleness: _duration_pb2.Duration
    tokens: _containers.RepeatedScalarFieldContainer[str]
    metadata_only: bool
    def __init__(self, namespace: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., consistency: _Optional[_Union[_values_pb2.Consistency, str]] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tokens: _Optional[_Iterable[str]] = ..., metadata_only: bool = ...) -> None: ...

class BatchGetResponse(_message.Message):
    __slots__ = ("items", "token")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[BatchGetItem]
    token: str
    def __init__(self, items: _Optional[_Iterable[_Union[BatchGetItem, _Mapping]]] = ..., token: _Optional[str] = ...) -> None: ...

class BatchGetItem(_message.Message):
    __slots__ = ("index", "hit", "negative_hit", "miss", "error", "degraded")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    HIT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_HIT_FIELD_NUMBER: _ClassVar[int]
    MISS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    index: int
    hit: _values_pb2.Hit
    negative_hit: _values_pb2.NegativeHit
    miss: _values_pb2.Miss
    error: _values_pb2.ItemError
    degraded: bool
    def __init__(self, index: _Optional[int] = ..., hit: _Optional[_Union[_values_pb2.Hit, _Mapping]] = ..., negative_hit: _Optional[_Union[_values_pb2.NegativeHit, _Mapping]] = ..., miss: _Optional[_Union[_values_pb2.Miss, _Mapping]] = ..., error: _Optional[_Union[_values_pb2.ItemError, _Mapping]] = ..., degraded: bool = ...) -> None: ...

class BatchSetRequest(_message.Message):
    __slots__ = ("namespace", "items", "tokens", "barrier")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    BARRIER_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    items: _containers.RepeatedCompositeFieldContainer[SetRequest]
    tokens: _containers.RepeatedScalarFieldContainer[str]
    barrier: _values_pb2.Barrier
    def __init__(self, namespace: _Optional[str] = ..., items: _Optional[_Iterable[_Union[SetRequest, _Mapping]]] = ..., tokens: _Optional[_Iterable[str]] = ..., barrier: _Optional[_Union[_values_pb2.Barrier, str]] = ...) -> None: ...

class BatchSetResponse(_message.Message):
    __slots__ = ("results", "token")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchSetResult]
    token: str
    def __init__(self, results: _Optional[_Iterable[_Union[BatchSetResult, _Mapping]]] = ..., token: _Optional[str] = ...) -> None: ...

class BatchSetResult(_message.Message):
    __slots__ = ("outcome", "version", "error")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    outcome: _values_pb2.SetOutcome
    version: str
    error: _values_pb2.ItemError
    def __init__(self, outcome: _Optional[_Union[_values_pb2.SetOutcome, str]] = ..., version: _Optional[str] = ..., error: _Optional[_Union[_values_pb2.ItemError, _Mapping]] = ...) -> None: ...

class BatchInvalidateRequest(_message.Message):
    __slots__ = ("namespace", "items", "tokens", "barrier", "mode")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    BARRIER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    items: _containers.RepeatedCompositeFieldContainer[BatchInvalidateItem]
    tokens: _containers.RepeatedScalarFieldContainer[str]
    barrier: _values_pb2.Barrier
    mode: _values_pb2.Mode
    def __init__(self, namespace: _Optional[str] = ..., items: _Optional[_Iterable[_Union[BatchInvalidateItem, _Mapping]]] = ..., tokens: _Optional[_Iterable[str]] = ..., barrier: _Optional[_Union[_values_pb2.Barrier, str]] = ..., mode: _Optional[_Union[_values_pb2.Mode, str]] = ...) -> None: ...

class BatchInvalidateItem(_message.Message):
    __slots__ = ("key", "source_version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    key: str
    source_version: int
    def __init__(self, key: _Optional[str] = ..., source_version: _Optional[int] = ...) -> None: ...

class BatchInvalidateResponse(_message.Message):
    __slots__ = ("results", "token")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchInvalidateResult]
    token: str
    def __init__(self, results: _Optional[_Iterable[_Union[BatchInvalidateResult, _Mapping]]] = ..., token: _Optional[str] = ...) -> None: ...

class BatchInvalidateResult(_message.Message):
    __slots__ = ("removed", "error")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    removed: bool
    error: _values_pb2.ItemError
    def __init__(self, removed: bool = ..., error: _Optional[_Union[_values_pb2.ItemError, _Mapping]] = ...) -> None: ...
