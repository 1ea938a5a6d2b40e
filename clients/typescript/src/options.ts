import type { Duration } from "./duration.js";
import { usage } from "./errors.js";
import type { Hooks } from "./hooks.js";
import type { SerializerChoice } from "./serializers.js";
import type { ConnectionOptions } from "./transport/connection.js";

/** Settings of the near cache. */
export interface NearCacheOptions {
  /** Maximum bytes of keys and values in memory. */
  readonly maxBytes: number;
  /** Maximum staleness of its answers. By default 2 s. */
  readonly maxStaleness?: Duration;
}

/** Settings of a cache. */
export interface CacheOptions extends ConnectionOptions {
  /** Namespace of calls that name none. By default the service's namespace `default`. */
  readonly namespace?: string;
  /** Deadline of a call, waiting for a lease excepted. By default 250 ms. */
  readonly timeout?: Duration;
  /** Longest wait for the lease of another caller. By default `leaseDuration`, else 10 s. */
  readonly leaseWait?: Duration;
  /** `true`: failures of the service are errors. By default the cache fails open. */
  readonly strict?: boolean;
  /** Serializer of values: `"json"` (the default), `"msgpack"`, `"bytes"` or your own. */
  readonly serializer?: SerializerChoice;
  /** File with a bearer token. It is read anew when the token changes. */
  readonly tokenFile?: string;
  /** A bearer token that does not change. */
  readonly token?: string;
  /** Keeps entries of the namespace in the memory of this client, fed by Watch. */
  readonly nearCache?: NearCacheOptions;
  /** Capacity of the queue of background writes. By default 1000. */
  readonly laterQueue?: number;
  /** Maximum refreshes in the background at a time. By default 16. */
  readonly refreshConcurrency?: number;
  /** Functions that receive events. */
  readonly hooks?: Hooks;
}

/** Options of every call. */
export interface CallOptions {
  /** Namespace. */
  readonly namespace?: string | undefined;
  /** Deadline of the call. */
  readonly timeout?: Duration | undefined;
  /** `true`: failures of the service are errors; `false`: they are not. */
  readonly strict?: boolean | undefined;
  /** Cancels the call, which then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Required consistency of a read.
 *
 * `"bounded"` answers at most `maxStaleness` after a write, `"strong"` reads Redis, and
 * `"eventual"` accepts any age.
 */
export type Consistency = "bounded" | "strong" | "eventual";

/** Options of reads. */
export interface ReadOptions extends CallOptions {
  /** Required consistency. By default that of the namespace. */
  readonly consistency?: Consistency | undefined;
  /** Maximum staleness of the answer. By default the service's bound. */
  readonly maxStaleness?: Duration | undefined;
}

/** Options of an entry. */
export interface EntryOptions {
  /** Time to live. By default that of the namespace. */
  readonly ttl?: Duration | undefined;
  /** Time after which the entry is due for refresh. */
  readonly softTtl?: Duration | undefined;
  /** Tags by which the entry can be invalidated. */
  readonly tags?: readonly string[] | undefined;
  /** Version of the value's source. An older one never replaces a newer one. */
  readonly sourceVersion?: number | bigint | undefined;
  /** Maximum random share by which the time to live is shortened: 0 to 0.5. */
  readonly jitter?: number | undefined;
}

/** Options of writes. */
export interface WriteOptions extends CallOptions, EntryOptions {}

/** Options of {@link Operations.setAbsent}. */
export interface AbsentOptions extends WriteOptions {
  /** Time to live of the negative entry. By default that of the namespace. */
  readonly negativeTtl?: Duration | undefined;
}

/** Options of {@link Operations.getOrSet}. */
export interface LoadOptions extends ReadOptions, EntryOptions {
  /** Time to live of the negative entry, if the loader returns `undefined`. */
  readonly negativeTtl?: Duration | undefined;
  /** `true`: a stale value is better than an error of the loader. */
  readonly staleIfError?: boolean | undefined;
  /** Duration of the lease: the time in which the loader surely ends. */
  readonly leaseDuration?: Duration | undefined;
  /** Longest wait for the lease of another caller. By default `leaseDuration`, else 10 s. */
  readonly leaseWait?: Duration | undefined;
}

/** Options of an invalidation. */
export interface InvalidateOptions extends CallOptions {
  /** Version of the source after the change. Only with one key. */
  readonly sourceVersion?: number | bigint | undefined;
}

/** Options of a background write. */
export type LaterOptions = Omit<WriteOptions, "signal" | "strict">;

/** Entries to invalidate: exactly one of the fields. */
export interface Selector {
  /** Keys. */
  readonly keys?: string | readonly string[];
  /** Entries with one of these tags. */
  readonly tags?: string | readonly string[];
  /** Entries below these segments: `user:42` covers `user:42` and `user:42:name`. */
  readonly prefix?: string;
  /** Entries whose keys match: `*` matches any characters, `?` matches one. */
  readonly pattern?: string;
  /** Every entry of the namespace. */
  readonly all?: true;
}

const CACHE_OPTIONS: ReadonlySet<string> = new Set<keyof CacheOptions>([
  "addresses",
  "tls",
  "channelOptions",
  "namespace",
  "timeout",
  "leaseWait",
  "strict",
  "serializer",
  "tokenFile",
  "token",
  "nearCache",
  "laterQueue",
  "refreshConcurrency",
  "hooks",
]);

const CALL_OPTIONS: ReadonlySet<string> = new Set<keyof LoadOptions>([
  "namespace",
  "timeout",
  "strict",
  "signal",
  "consistency",
  "maxStaleness",
  "ttl",
  "softTtl",
  "tags",
  "sourceVersion",
  "jitter",
  "negativeTtl",
  "staleIfError",
  "leaseDuration",
  "leaseWait",
]);

/** Fails if the options of a cache have an unknown name. */
export function checkCacheOptions(options: object): void {
  checkNames(options, CACHE_OPTIONS);
}

/** Fails if the options of a call have an unknown name. */
export function checkCallOptions(options: object): void {
  checkNames(options, CALL_OPTIONS);
}

function checkNames(options: object, known: ReadonlySet<string>): void {
  for (const name in options) {
    if (!known.has(name)) {
      throw usage(`the option ${JSON.stringify(name)} does not exist; it is one of ${list(known)}`);
    }
  }
}

function list(names: ReadonlySet<string>): string {
  return [...names].join(", ");
}

/** Returns a number within limits, or fails. */
export function checkInteger(field: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw usage(`${field} is ${value}; it must be an integer from ${least} to ${most}`);
  }
  return value;
}
