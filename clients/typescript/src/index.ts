/**
 * Client of twintier, a two-tier cache that programs call over gRPC.
 *
 * @packageDocumentation
 */
export { Cache, type CloseOptions, type Closed } from "./cache.js";
export type { CachedFunction, CachedOptions } from "./cached.js";
export type { Counters } from "./counters.js";
export type { Duration } from "./duration.js";
export { TwintierError, type ErrorDetails, type ErrorKind } from "./errors.js";
export type {
  CallEvent,
  FailureEvent,
  HitEvent,
  Hooks,
  LoadEvent,
  MissEvent,
} from "./hooks.js";
export { argumentKey, key, type KeyValue } from "./keys.js";
export type { LoadContext, Loader } from "./loads.js";
export { Operations, type Lookup } from "./operations.js";
export type {
  AbsentOptions,
  CacheOptions,
  CallOptions,
  Consistency,
  EntryOptions,
  InvalidateOptions,
  LaterOptions,
  LoadOptions,
  NearCacheOptions,
  ReadOptions,
  Selector,
  WriteOptions,
} from "./options.js";
export { bytes, json, msgpack, type Serializer, type SerializerChoice } from "./serializers.js";
export { Session } from "./session.js";
export type { ConnectionOptions, TlsOptions } from "./transport/connection.js";
export type { Invalidated } from "./writes.js";
