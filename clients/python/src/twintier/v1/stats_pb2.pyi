import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_UNSPECIFIED: _ClassVar[Tier]
    TIER_L1: _ClassVar[Tier]
    TIER_L2: _ClassVar[Tier]

class RedisState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REDIS_STATE_UNSPECIFIED: _ClassVar[RedisState]
    REDIS_STATE_DISABLED: _ClassVar[RedisState]
    REDIS_STATE_HEALTHY: _ClassVar[RedisState]
    REDIS_STATE_DEGRADED: _ClassVar[RedisState]
    REDIS_STATE_UNAVAILABLE: _ClassVar[RedisState]

class StatsScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATS_SCOPE_UNSPECIFIED: _ClassVar[StatsScope]
    STATS_SCOPE_REPLICA: _ClassVar[StatsScope]
    STATS_SCOPE_FLEET: _ClassVar[StatsScope]
TIER_UNSPECIFIED: Tier
TIER_L1: Tier
TIER_L2: Tier
REDIS_STATE_UNSPECIFIED: RedisState
REDIS_STATE_DISABLED: RedisState
REDIS_STATE_HEALTHY: RedisState
REDIS_STATE_DEGRADED: RedisState
REDIS_STATE_UNAVAILABLE: RedisState
STATS_SCOPE_UNSPECIFIED: StatsScope
STATS_SCOPE_REPLICA: StatsScope
STATS_SCOPE_FLEET: StatsScope

class StatsRequest(_message.Message):
    __slots__ = ("namespace", "scope")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    scope: StatsScope
    def __init__(self, namespace: _Optional[str] = ..., scope: _Optional[_Union[StatsScope, str]] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("replica", "namespaces", "l1", "coherence", "redis", "latencies", "self_audit", "leases", "watches", "warm_start", "fleet", "reset_time")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    L1_FIELD_NUMBER: _ClassVar[int]
    COHERENCE_FIELD_NUMBER: _ClassVar[int]
    REDIS_FIELD_NUMBER: _ClassVar[int]
    LATENCIES_FIELD_NUMBER: _ClassVar[int]
    SELF_AUDIT_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    WATCHES_FIELD_NUMBER: _ClassVar[int]
    WARM_START_FIELD_NUMBER: _ClassVar[int]
    FLEET_FIELD_NUMBER: _ClassVar[int]
    RESET_TIME_FIELD_NUMBER: _ClassVar[int]
    replica: ReplicaStats
    namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceStats]
    l1: L1Stats
    coherence: CoherenceStats
    redis: RedisStats
    latencies: _containers.RepeatedCompositeFieldContainer[LatencyStats]
    self_audit: SelfAuditStats
    leases: LeaseStats
    watches: WatchStats
    warm_start: WarmStartStats
    fleet: _containers.RepeatedCompositeFieldContainer[FleetReplica]
    reset_time: _timestamp_pb2.Timestamp
    def __init__(self, replica: _Optional[_Union[ReplicaStats, _Mapping]] = ..., namespaces: _Optional[_Iterable[_Union[NamespaceStats, _Mapping]]] = ..., l1: _Optional[_Union[L1Stats, _Mapping]] = ..., coherence: _Optional[_Union[CoherenceStats, _Mapping]] = ..., redis: _Optional[_Union[RedisStats, _Mapping]] = ..., latencies: _Optional[_Iterable[_Union[LatencyStats, _Mapping]]] = ..., self_audit: _Optional[_Union[SelfAuditStats, _Mapping]] = ..., leases: _Optional[_Union[LeaseStats, _Mapping]] = ..., watches: _Optional[_Union[WatchStats, _Mapping]] = ..., warm_start: _Optional[_Union[WarmStartStats, _Mapping]] = ..., fleet: _Optional[_Iterable[_Union[FleetReplica, _Mapping]]] = ..., reset_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class FleetReplica(_message.Message):
    __slots__ = ("id", "version", "start_time", "age", "audit_age")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_AGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: str
    start_time: _timestamp_pb2.Timestamp
    age: _duration_pb2.Duration
    audit_age: _duration_pb2.Duration
    def __init__(self, id: _Optional[str] = ..., version: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., audit_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LeaseStats(_message.Message):
    __slots__ = ("granted", "granted_alone", "filled", "voided", "released", "waited", "served", "waiting")
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    GRANTED_ALONE_FIELD_NUMBER: _ClassVar[int]
    FILLED_FIELD_NUMBER: _ClassVar[int]
    VOIDED_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    WAITED_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    granted: int
    granted_alone: int
    filled: int
    voided: int
    released: int
    waited: int
    served: int
    waiting: int
    def __init__(self, granted: _Optional[int] = ..., granted_alone: _Optional[int] = ..., filled: _Optional[int] = ..., voided: _Optional[int] = ..., released: _Optional[int] = ..., waited: _Optional[int] = ..., served: _Optional[int] = ..., waiting: _Optional[int] = ...) -> None: ...

class WatchStats(_message.Message):
    __slots__ = ("watchers", "changes", "discontinuities")
    WATCHERS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    DISCONTINUITIES_FIELD_NUMBER: _ClassVar[int]
    watchers: int
    changes: int
    discontinuities: int
    def __init__(self, watchers: _Optional[int] = ..., changes: _Optional[int] = ..., discontinuities: _Optional[int] = ...) -> None: ...

class WarmStartStats(_message.Message):
    __slots__ = ("listed", "loaded", "duration", "timed_out")
    LISTED_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    listed: int
    loaded: int
    duration: _duration_pb2.Duration
    timed_out: bool
    def __init__(self, listed: _Optional[int] = ..., loaded: _Optional[int] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timed_out: bool = ...) -> None: ...

class ReplicaStats(_message.Message):
    __slots__ = ("id", "version", "start_time", "l1_only", "cache_enabled", "in_flight", "connections", "shed", "state")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    L1_ONLY_FIELD_NUMBER: _ClassVar[int]
    CACHE_ENABLED_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    SHED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: str
    start_time: _timestamp_pb2.Timestamp
    l1_only: bool
    cache_enabled: bool
    in_flight: int
    connections: int
    shed: int
    state: str
    def __init__(self, id: _Optional[str] = ..., version: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., l1_only: bool = ..., cache_enabled: bool = ..., in_flight: _Optional[int] = ..., connections: _Optional[int] = ..., shed: _Optional[int] = ..., state: _Optional[str] = ...) -> None: ...

class NamespaceStats(_message.Message):
    __slots__ = ("namespace", "l1_hits", "l2_hits", "stale_hits", "negative_hits", "misses", "degraded", "coalesced", "sets_stored", "sets_condition_failed", "write_errors", "invalidations", "entries", "bytes", "sets_void", "touches", "throttled", "over_quota", "redis_keys", "redis_bytes", "over_byte_rate", "over_in_flight", "over_leases", "over_redis_bytes", "max_bytes", "reserved_bytes", "tombstone_overflows")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    L1_HITS_FIELD_NUMBER: _ClassVar[int]
    L2_HITS_FIELD_NUMBER: _ClassVar[int]
    STALE_HITS_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    COALESCED_FIELD_NUMBER: _ClassVar[int]
    SETS_STORED_FIELD_NUMBER: _ClassVar[int]
    SETS_CONDITION_FAILED_FIELD_NUMBER: _ClassVar[int]
    WRITE_ERRORS_FIELD_NUMBER: _ClassVar[int]
    INVALIDATIONS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SETS_VOID_FIELD_NUMBER: _ClassVar[int]
    TOUCHES_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_FIELD_NUMBER: _ClassVar[int]
    OVER_QUOTA_FIELD_NUMBER: _ClassVar[int]
    REDIS_KEYS_FIELD_NUMBER: _ClassVar[int]
    REDIS_BYTES_FIELD_NUMBER: _ClassVar[int]
    OVER_BYTE_RATE_FIELD_NUMBER: _ClassVar[int]
    OVER_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    OVER_LEASES_FIELD_NUMBER: _ClassVar[int]
    OVER_REDIS_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESERVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONE_OVERFLOWS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    l1_hits: int
    l2_hits: int
    stale_hits: int
    negative_hits: int
    misses: int
    degraded: int
    coalesced: int
    sets_stored: int
    sets_condition_failed: int
    write_errors: int
    invalidations: int
    entries: int
    bytes: int
    sets_void: int
    touches: int
    throttled: int
    over_quota: int
    redis_keys: int
    redis_bytes: int
    over_byte_rate: int
    over_in_flight: int
    over_leases: int
    over_redis_bytes: int
    max_bytes: int
    reserved_bytes: int
    tombstone_overflows: int
    def __init__(self, namespace: _Optional[str] = ..., l1_hits: _Optional[int] = ..., l2_hits: _Optional[int] = ..., stale_hits: _Optional[int] = ..., negative_hits: _Optional[int] = ..., misses: _Optional[int] = ..., degraded: _Optional[int] = ..., coalesced: _Optional[int] = ..., sets_stored: _Optional[int] = ..., sets_condition_failed: _Optional[int] = ..., write_errors: _Optional[int] = ..., invalidations: _Optional[int] = ..., entries: _Optional[int] = ..., bytes: _Optional[int] = ..., sets_void: _Optional[int] = ..., touches: _Optional[int] = ..., throttled: _Optional[int] = ..., over_quota: _Optional[int] = ..., redis_keys: _Optional[int] = ..., redis_bytes: _Optional[int] = ..., over_byte_rate: _Optional[int] = ..., over_in_flight: _Optional[int] = ..., over_leases: _Optional[int] = ..., over_redis_bytes: _Optional[int] = ..., max_bytes: _Optional[int] = ..., reserved_bytes: _Optional[int] = ..., tombstone_overflows: _Optional[int] = ...) -> None: ...

class L1Stats(_message.Message):
    __slots__ = ("entries", "bytes", "max_bytes", "evicted_size", "evicted_expired", "removed", "replaced", "rejected")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    EVICTED_SIZE_FIELD_NUMBER: _ClassVar[int]
    EVICTED_EXPIRED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    entries: int
    bytes: int
    max_bytes: int
    evicted_size: int
    evicted_expired: int
    removed: int
    replaced: int
    rejected: int
    def __init__(self, entries: _Optional[int] = ..., bytes: _Optional[int] = ..., max_bytes: _Optional[int] = ..., evicted_size: _Optional[int] = ..., evicted_expired: _Optional[int] = ..., removed: _Optional[int] = ..., replaced: _Optional[int] = ..., rejected: _Optional[int] = ...) -> None: ...

class CoherenceStats(_message.Message):
    __slots__ = ("max_staleness", "partitions", "partitions_proven", "audit_age", "messages_applied", "messages_own", "gaps", "undecodable", "lagged", "bumps", "audits_sent", "audits_echoed", "audits_failed", "disconnects", "fills_fenced", "lag_p99", "takeovers", "repaired", "sets_fenced")
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_PROVEN_FIELD_NUMBER: _ClassVar[int]
    AUDIT_AGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_APPLIED_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_OWN_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    UNDECODABLE_FIELD_NUMBER: _ClassVar[int]
    LAGGED_FIELD_NUMBER: _ClassVar[int]
    BUMPS_FIELD_NUMBER: _ClassVar[int]
    AUDITS_SENT_FIELD_NUMBER: _ClassVar[int]
    AUDITS_ECHOED_FIELD_NUMBER: _ClassVar[int]
    AUDITS_FAILED_FIELD_NUMBER: _ClassVar[int]
    DISCONNECTS_FIELD_NUMBER: _ClassVar[int]
    FILLS_FENCED_FIELD_NUMBER: _ClassVar[int]
    LAG_P99_FIELD_NUMBER: _ClassVar[int]
    TAKEOVERS_FIELD_NUMBER: _ClassVar[int]
    REPAIRED_FIELD_NUMBER: _ClassVar[int]
    SETS_FENCED_FIELD_NUMBER: _ClassVar[int]
    max_staleness: _duration_pb2.Duration
    partitions: int
    partitions_proven: int
    audit_age: _duration_pb2.Duration
    messages_applied: int
    messages_own: int
    gaps: int
    undecodable: int
    lagged: int
    bumps: int
    audits_sent: int
    audits_echoed: int
    audits_failed: int
    disconnects: int
    fills_fenced: int
    lag_p99: _duration_pb2.Duration
    takeovers: int
    repaired: int
    sets_fenced: int
    def __init__(self, max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., partitions: _Optional[int] = ..., partitions_proven: _Optional[int] = ..., audit_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., messages_applied: _Optional[int] = ..., messages_own: _Optional[int] = ..., gaps: _Optional[int] = ..., undecodable: _Optional[int] = ..., lagged: _Optional[int] = ..., bumps: _Optional[int] = ..., audits_sent: _Optional[int] = ..., audits_echoed: _Optional[int] = ..., audits_failed: _Optional[int] = ..., disconnects: _Optional[int] = ..., fills_fenced: _Optional[int] = ..., lag_p99: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., takeovers: _Optional[int] = ..., repaired: _Optional[int] = ..., sets_fenced: _Optional[int] = ...) -> None: ...

class SelfAuditStats(_message.Message):
    __slots__ = ("sampled", "dropped", "checked", "gone", "failed", "violations", "staleness_p99", "staleness_max")
    SAMPLED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    CHECKED_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    STALENESS_P99_FIELD_NUMBER: _ClassVar[int]
    STALENESS_MAX_FIELD_NUMBER: _ClassVar[int]
    sampled: int
    dropped: int
    checked: int
    gone: int
    failed: int
    violations: int
    staleness_p99: _duration_pb2.Duration
    staleness_max: _duration_pb2.Duration
    def __init__(self, sampled: _Optional[int] = ..., dropped: _Optional[int] = ..., checked: _Optional[int] = ..., gone: _Optional[int] = ..., failed: _Optional[int] = ..., violations: _Optional[int] = ..., staleness_p99: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., staleness_max: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RedisStats(_message.Message):
    __slots__ = ("state", "reason", "state_age", "round_trip", "reconnects", "commands", "errors", "undecodable", "server_version", "used_memory", "used_memory_peak", "maxmemory", "keys", "evicted_keys", "expired_keys", "commands_processed", "maxmemory_policy", "warnings", "foreign_messages", "namespace_sample_age", "namespace_sample_keys")
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATE_AGE_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_FIELD_NUMBER: _ClassVar[int]
    RECONNECTS_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    UNDECODABLE_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    USED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    USED_MEMORY_PEAK_FIELD_NUMBER: _ClassVar[int]
    MAXMEMORY_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    EVICTED_KEYS_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_KEYS_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_PROCESSED_FIELD_NUMBER: _ClassVar[int]
    MAXMEMORY_POLICY_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_SAMPLE_AGE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_SAMPLE_KEYS_FIELD_NUMBER: _ClassVar[int]
    state: RedisState
    reason: str
    state_age: _duration_pb2.Duration
    round_trip: _duration_pb2.Duration
    reconnects: int
    commands: int
    errors: int
    undecodable: int
    server_version: str
    used_memory: int
    used_memory_peak: int
    maxmemory: int
    keys: int
    evicted_keys: int
    expired_keys: int
    commands_processed: int
    maxmemory_policy: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    foreign_messages: int
    namespace_sample_age: _duration_pb2.Duration
    namespace_sample_keys: int
    def __init__(self, state: _Optional[_Union[RedisState, str]] = ..., reason: _Optional[str] = ..., state_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., round_trip: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reconnects: _Optional[int] = ..., commands: _Optional[int] = ..., errors: _Optional[int] = ..., undecodable: _Optional[int] = ..., server_version: _Optional[str] = ..., used_memory: _Optional[int] = ..., used_memory_peak: _Optional[int] = ..., maxmemory: _Optional[int] = ..., keys: _Optional[int] = ..., evicted_keys: _Optional[int] = ..., expired_keys: _Optional[int] = ..., commands_processed: _Optional[int] = ..., maxmemory_policy: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ..., foreign_messages: _Optional[int] = ..., namespace_sample_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., namespace_sample_keys: _Optional[int] = ...) -> None: ...

class LatencyStats(_message.Message):
    __slots__ = ("operation", "tier", "count", "p50", "p95", "p99", "p999", "max")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    P999_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    operation: str
    tier: Tier
    count: int
    p50: _duration_pb2.Duration
    p95: _duration_pb2.Duration
    p99: _duration_pb2.Duration
    p999: _duration_pb2.Duration
    max: _duration_pb2.Duration
    def __init__(self, operation: _Optional[str] = ..., tier: _Optional[_Union[Tier, str]] = ..., count: _Optional[int] = ..., p50: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., p95: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., p99: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., p999: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
