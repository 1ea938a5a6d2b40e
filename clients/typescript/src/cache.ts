import { AsyncLocalStorage } from "node:async_hooks";
import { Breaker } from "./breaker.js";
import { cachedFunction, type CachedFunction, type CachedOptions } from "./cached.js";
import { timeoutOf, type Defaults } from "./context.js";
import { LaterWrites, type Core } from "./core.js";
import type { Counters } from "./counters.js";
import { milliseconds, type Duration } from "./duration.js";
import { usage } from "./errors.js";
import { Flights } from "./flights.js";
import { CacheServiceService } from "./generated/twintier/v1/cache.js";
import { Recorder } from "./hooks.js";
import { LeasedReader } from "./leases.js";
import { LoadingReader } from "./loads.js";
import { NearAccess } from "./near/access.js";
import { NearCache } from "./near/near-cache.js";
import { Watcher } from "./near/watcher.js";
import { Operations } from "./operations.js";
import {
  checkCacheOptions,
  checkInteger,
  type CacheOptions,
  type LaterOptions,
  type NearCacheOptions,
  type Selector,
} from "./options.js";
import { Pool } from "./pool.js";
import { Reader } from "./reads.js";
import { serializerOf } from "./serializers.js";
import { Service } from "./service.js";
import { Session } from "./session.js";
import type { SessionTokens } from "./tokens.js";
import { connect } from "./transport/connection.js";
import { FixedToken, TokenFile, type TokenSource } from "./transport/token.js";
import { Transport } from "./transport/transport.js";
import { Writer } from "./writes.js";

/** Options of {@link Cache.close}. */
export interface CloseOptions {
  /** Longest time to wait for background writes. By default 5 s. */
  readonly drain?: Duration;
}

/** Result of {@link Cache.close}. */
export interface Closed {
  /** False if background writes were lost. */
  readonly drained: boolean;
}

/**
 * A client of the cache service.
 *
 * It fails open: when the service is away, reads are misses, writes are not stored, and loaders run.
 * One instance is enough for a process.
 *
 * ```ts
 * const cache = new Cache({ addresses: "localhost:50051" });
 * const user = await cache.getOrSet("user:7", () => loadUser(7), { ttl: "5m" });
 * ```
 */
export class Cache extends Operations {
  readonly #recorder: Recorder;
  readonly #transport: Transport;
  readonly #watcher: Watcher | undefined;
  readonly #later: LaterWrites;
  readonly #refreshes: Pool;
  readonly #sessions = new AsyncLocalStorage<Session>();
  #closed: Promise<Closed> | undefined;

  constructor(options: CacheOptions) {
    checkCacheOptions(options);
    const parts = assemble(options);
    super(parts.core);
    this.#recorder = parts.core.service.recorder;
    this.#transport = parts.transport;
    this.#watcher = parts.watcher;
    this.#later = new LaterWrites(
      parts.core,
      checkInteger("laterQueue", options.laterQueue ?? 1_000, 1, 1_000_000),
    );
    this.#refreshes = parts.refreshes;
    this.#watcher?.start();
  }

  /** Begins a session, or continues the one with this text. */
  session(text = ""): Session {
    return new Session(this.core, text);
  }

  /** Runs a function. The calls of this cache in it are part of the session. */
  withSession<R>(session: Session, run: () => R): R {
    return this.#sessions.run(session, run);
  }

  /** Returns a function whose results are cached. */
  cached<A extends unknown[], R>(
    fn: (...args: A) => R | Promise<R>,
    options: CachedOptions<A>,
  ): CachedFunction<A, R> {
    return cachedFunction(this, fn, options);
  }

  /** Writes a value in the background. If the queue is full, the oldest write is dropped. */
  setLater(key: string, value: unknown, options: LaterOptions = {}): void {
    this.#checkOpen();
    this.#later.set(key, value, options);
  }

  /** Removes entries in the background, in order with other background writes. */
  invalidateLater(selector: Selector, options: LaterOptions = {}): void {
    this.#checkOpen();
    this.#later.invalidate(selector, options);
  }

  /** Returns the counters. */
  counters(): Counters {
    return { ...this.#recorder.counters };
  }

  /** Waits for background writes, and closes the connection. Later reads are misses. */
  close(options: CloseOptions = {}): Promise<Closed> {
    this.#closed ??= this.#close(milliseconds("drain", options.drain ?? "5s"));
    return this.#closed;
  }

  /** @internal */
  override tokens(): SessionTokens | undefined {
    return this.#sessions.getStore()?.tokens();
  }

  async #close(limit: number): Promise<Closed> {
    this.#watcher?.close();
    const began = performance.now();
    const drained = await this.#later.drain(limit);
    await settled(this.#refreshes.idle(), limit - (performance.now() - began));
    this.#transport.close();
    this.#recorder.close();
    return { drained };
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) {
      throw usage("the cache is closed; it takes no background writes");
    }
  }
}

/** Waits for a promise that does not reject, for a time at most. */
async function settled(promise: Promise<void>, limit: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, limit));
  });
  await Promise.race([promise, over]);
  clearTimeout(timer);
}

/** Creates the parts of a cache. */
function assemble(options: CacheOptions) {
  const recorder = new Recorder(options.hooks ?? {});
  const serializer = serializerOf(options.serializer ?? "json");
  const defaults = defaultsOf(options);
  const near = options.nearCache === undefined ? undefined : nearCache(options.nearCache);
  const refreshes = new Pool(
    checkInteger("refreshConcurrency", options.refreshConcurrency ?? 16, 1, 10_000),
  );
  const leaseWait =
    options.leaseWait === undefined ? undefined : timeoutOf("leaseWait", options.leaseWait);
  const transport = new Transport(connect(options), tokenSource(options), options.hooks?.inject);
  const service = new Service(transport, new Breaker(), recorder);
  const access = new NearAccess(near, defaults.namespace);
  const reader = new Reader(service, access, serializer);
  const writer = new Writer(service, (namespace, covers) => {
    access.changed(namespace, covers);
  });
  const flights = new Flights();
  const loads = new LoadingReader(
    service,
    reader,
    new LeasedReader(reader, leaseWait),
    writer,
    serializer,
    flights,
    refreshes,
  );
  const core: Core = { defaults, serializer, service, reader, writer, loads, flights };
  const watcher =
    near &&
    new Watcher(
      near,
      defaults.namespace,
      (request) => transport.open(CacheServiceService.watch, request),
      (error) => {
        recorder.failure(error);
      },
    );
  return { core, transport, watcher, refreshes };
}

function defaultsOf(options: CacheOptions): Defaults {
  return {
    namespace: options.namespace ?? "default",
    timeout: timeoutOf("timeout", options.timeout ?? 250),
    strict: options.strict ?? false,
  };
}

function nearCache(options: NearCacheOptions): NearCache {
  const maxBytes = checkInteger("nearCache.maxBytes", options.maxBytes, 1, Number.MAX_SAFE_INTEGER);
  return new NearCache(maxBytes, timeoutOf("nearCache.maxStaleness", options.maxStaleness ?? "2s"));
}

function tokenSource(options: CacheOptions): TokenSource | undefined {
  if (options.token !== undefined && options.tokenFile !== undefined) {
    throw usage("token and tokenFile must not be given together");
  }
  if (options.tokenFile !== undefined) {
    return new TokenFile(options.tokenFile);
  }
  return options.token === undefined ? undefined : new FixedToken(options.token);
}
