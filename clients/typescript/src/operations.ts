import { checkKey, contextOf } from "./context.js";
import { entryOf, type Core } from "./core.js";
import type { Duration } from "./duration.js";
import { checkLoadOptions } from "./leases.js";
import { negativeOptions, type Loader } from "./loads.js";
import type { Covers } from "./near/covers.js";
import type {
  AbsentOptions,
  CallOptions,
  InvalidateOptions,
  LoadOptions,
  ReadOptions,
  Selector,
  WriteOptions,
} from "./options.js";
import { MAX_BATCH, type Reading } from "./reads.js";
import type { Context } from "./service.js";
import type { SessionTokens } from "./tokens.js";
import type { Invalidated } from "./writes.js";

/** The answer of {@link Operations.lookup}. */
export type Lookup<T> =
  | { readonly found: true; readonly value: T; readonly stale: boolean }
  /** `absent` is true if the thing is known not to exist. */
  | { readonly found: false; readonly absent: boolean };

const NONE = {};

/** The operations that a cache and its sessions have. */
export abstract class Operations {
  /** @internal */
  protected constructor(
    /** @internal */
    protected readonly core: Core,
  ) {}

  /** The tokens that calls present. */
  protected abstract tokens(): SessionTokens | undefined;

  /** Returns the value of a key, or `undefined` if there is none. */
  async get<T = unknown>(key: string, options: ReadOptions = NONE): Promise<T | undefined> {
    const reading = await this.#read(key, options);
    return reading?.kind === "hit" ? (reading.value as T) : undefined;
  }

  /** Returns the value of a key, and tells "absent" from a miss. */
  async lookup<T = unknown>(key: string, options: ReadOptions = NONE): Promise<Lookup<T>> {
    const reading = await this.#read(key, options);
    return reading?.kind === "hit"
      ? { found: true, value: reading.value as T, stale: reading.stale }
      : { found: false, absent: reading?.kind === "absent" };
  }

  /** Returns the values of the keys that have one. */
  async getMany<T = unknown>(
    keys: readonly string[],
    options: ReadOptions = NONE,
  ): Promise<Map<string, T>> {
    keys.forEach(checkKey);
    const readings = await this.core.reader.readMany(this.#context(options), keys, options);
    const values = new Map<string, T>();
    for (const [key, reading] of readings) {
      if (reading.kind === "hit") {
        values.set(key, reading.value as T);
      }
    }
    return values;
  }

  /** Writes a value. Returns whether it was stored. */
  async set(key: string, value: unknown, options: WriteOptions = NONE): Promise<boolean> {
    const context = this.#context(options);
    const entry = entryOf(this.core.serializer, key, value, options);
    const stored = await this.#change(context, { keys: [key] }, () =>
      this.core.writer.set(context, entry),
    );
    return stored ?? false;
  }

  /** Writes values. Returns the keys of those that were stored. */
  async setMany(
    values: ReadonlyMap<string, unknown> | Readonly<Record<string, unknown>>,
    options: WriteOptions = NONE,
  ): Promise<string[]> {
    const context = this.#context(options);
    const pairs: [string, unknown][] =
      values instanceof Map ? [...(values as Map<string, unknown>)] : Object.entries(values);
    const entries = pairs.map(([key, value]) =>
      entryOf(this.core.serializer, key, value, options),
    );
    const covers = { keys: entries.map(({ key }) => key) };
    const stored = await this.#change(context, covers, () =>
      this.core.writer.setMany(context, entries),
    );
    return stored ?? [];
  }

  /** Stores that a thing does not exist. Returns whether that was stored. */
  async setAbsent(key: string, options: AbsentOptions = NONE): Promise<boolean> {
    const context = this.#context(options);
    const content = { $case: "knownAbsent" as const, value: {} };
    const ttl = options.negativeTtl ?? options.ttl;
    const entry = { key, content, contentType: "", options: { ...negativeOptions(options), ttl } };
    const stored = await this.#change(context, { keys: [key] }, () =>
      this.core.writer.set(context, entry),
    );
    return stored ?? false;
  }

  /** Changes the time to live of an entry. Returns false if there is none. */
  async touch(key: string, ttl: Duration, options: CallOptions = NONE): Promise<boolean> {
    const context = this.#context(options);
    const touched = this.core.writer.touch(context, key, ttl);
    return (await this.core.service.open(context, touched)) ?? false;
  }

  /** Removes entries: by keys, tags, prefix or pattern, or all of the namespace. */
  async invalidate(selector: Selector, options: InvalidateOptions = NONE): Promise<Invalidated> {
    const context = this.#context(callOptions(options));
    let removed: number | undefined = 0;
    let done = true;
    for (const part of batchesOf(selector)) {
      const result = await this.#change(context, coversOf(part), () =>
        this.core.writer.invalidate(context, part, options.sourceVersion),
      );
      done &&= result !== undefined;
      removed = result?.removed === undefined ? undefined : (removed ?? 0) + result.removed;
    }
    return { done, removed };
  }

  /**
   * Returns the value of a key; loads and stores it if there is none.
   *
   * One caller of the fleet loads, the others wait for its value. A loader that returns `undefined`
   * says that the thing does not exist, and that is stored, too. Concurrent callers of one process
   * share one call and one value, so do not change the value. If the service is away, the loader
   * runs.
   */
  async getOrSet<T>(
    key: string,
    loader: Loader<T>,
    options: LoadOptions = NONE,
  ): Promise<T | undefined> {
    checkKey(key);
    checkLoadOptions(options);
    const context = this.#context(options);
    return (await this.core.loads.getOrSet(context, key, loader, options)) as T | undefined;
  }

  #context(options: CallOptions): Context {
    return contextOf(this.core.defaults, options, this.tokens());
  }

  #read(key: string, options: ReadOptions): Promise<Reading | undefined> {
    checkKey(key);
    const context = this.#context(options);
    return this.core.service.open(context, this.core.reader.read(context, key, options));
  }

  /** Carries out a change. Later callers do not share loads that began before it. */
  async #change<R>(
    context: Context,
    covers: Covers,
    change: () => Promise<R>,
  ): Promise<R | undefined> {
    try {
      return await this.core.service.open(context, change());
    } finally {
      this.core.flights.detach(context.namespace, covers);
    }
  }
}

function callOptions(options: InvalidateOptions): CallOptions {
  const { sourceVersion: _sourceVersion, ...others } = options;
  return others;
}

/** Splits a list of keys into batches that the service accepts. */
function batchesOf(selector: Selector): Selector[] {
  const { keys } = selector;
  if (keys === undefined || typeof keys === "string" || keys.length <= MAX_BATCH) {
    return [selector];
  }
  const batches: Selector[] = [];
  for (let from = 0; from < keys.length; from += MAX_BATCH) {
    batches.push({ ...selector, keys: keys.slice(from, from + MAX_BATCH) });
  }
  return batches;
}

function coversOf({ keys, prefix, pattern }: Selector): Covers {
  if (keys !== undefined) {
    return { keys: typeof keys === "string" ? [keys] : keys };
  }
  if (prefix !== undefined) {
    return { prefix };
  }
  return pattern === undefined ? { all: true } : { pattern };
}
