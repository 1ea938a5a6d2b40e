/**
 * A storage adapter for Keyv, and so for cache-manager.
 *
 * @packageDocumentation
 */
import { EventEmitter } from "node:events";
import type { KeyvStoreAdapter, StoredData } from "keyv";
import { Cache } from "./cache.js";
import { usage } from "./errors.js";
import type { CacheOptions, CallOptions } from "./options.js";

/** A value to store. */
interface KeyvEntry {
  readonly key: string;
  readonly value: unknown;
  readonly ttl?: number;
}

/** Failures are errors here: Keyv emits them, and answers as if there were no entry. */
const STRICT: CallOptions = { strict: true };

/**
 * A storage adapter for Keyv.
 *
 * ```ts
 * const keyv = new Keyv({ store: new KeyvTwintier({ addresses: "localhost:50051" }) });
 * ```
 */
export class KeyvTwintier extends EventEmitter implements KeyvStoreAdapter {
  readonly opts: { dialect: string; url: string };
  /** Namespace of Keyv. It is a part of the keys. */
  namespace?: string | undefined;
  readonly #cache: Cache;
  readonly #owned: boolean;

  /** Uses a cache, or creates one of its own, which `disconnect` closes. */
  constructor(cache: Cache | CacheOptions) {
    super();
    // Not `instanceof`: the cache may be of the other module format.
    this.#owned = !("getOrSet" in cache);
    this.#cache = "getOrSet" in cache ? cache : new Cache(cache);
    this.opts = { dialect: "twintier", url: "twintier" };
  }

  async get<Value>(key: string): Promise<StoredData<Value> | undefined> {
    return this.#cache.get<StoredData<Value>>(key, STRICT);
  }

  async getMany<Value>(keys: string[]): Promise<StoredData<Value | undefined>[]> {
    const values = await this.#cache.getMany<StoredData<Value>>(keys, STRICT);
    return keys.map((key) => values.get(key));
  }

  async set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    if (ttl !== undefined && ttl <= 0) {
      await this.delete(key);
      return true;
    }
    return this.#cache.set(key, value, { ...STRICT, ttl: wholeMilliseconds(ttl) });
  }

  async setMany(entries: KeyvEntry[]): Promise<void> {
    const byTtl = new Map<number | undefined, Map<string, unknown>>();
    for (const { key, value, ttl } of entries) {
      const group = byTtl.get(ttl) ?? new Map<string, unknown>();
      byTtl.set(ttl, group.set(key, value));
    }
    for (const [ttl, values] of byTtl) {
      if (ttl !== undefined && ttl <= 0) {
        await this.deleteMany([...values.keys()]);
      } else {
        await this.#cache.setMany(values, { ...STRICT, ttl: wholeMilliseconds(ttl) });
      }
    }
  }

  async delete(key: string): Promise<boolean> {
    return this.deleteMany([key]);
  }

  async deleteMany(keys: string[]): Promise<boolean> {
    if (keys.length === 0) {
      return false;
    }
    const { removed } = await this.#cache.invalidate({ keys }, STRICT);
    return (removed ?? 0) > 0;
  }

  async has(key: string): Promise<boolean> {
    return (await this.#cache.lookup(key, STRICT)).found;
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    const values = await this.#cache.getMany(keys, STRICT);
    return keys.map((key) => values.has(key));
  }

  /** Removes the entries of Keyv's namespace, or all of the service's if Keyv has none. */
  async clear(): Promise<void> {
    if (this.namespace === undefined || this.namespace === "") {
      await this.#cache.invalidate({ all: true }, STRICT);
      return;
    }
    if (/[:/]$/.test(this.namespace)) {
      throw usage(`namespace is ${JSON.stringify(this.namespace)}; it must not end with : or /`);
    }
    await this.#cache.invalidate({ prefix: this.namespace }, STRICT);
  }

  async disconnect(): Promise<void> {
    if (this.#owned) {
      await this.#cache.close();
    }
  }
}

function wholeMilliseconds(ttl: number | undefined): number | undefined {
  return ttl === undefined ? undefined : Math.ceil(ttl);
}
