import { randomUUID } from "node:crypto";
import { checkKey } from "./context.js";
import { toMessage, type Duration } from "./duration.js";
import { TwintierError, usage } from "./errors.js";
import {
  CacheServiceService,
  TouchMode,
  TouchOutcome,
  type InvalidateRequest,
  type SetRequest,
  type TouchRequest,
} from "./generated/twintier/v1/cache.js";
import { Barrier, Mode, SetOutcome } from "./generated/twintier/v1/values.js";
import type { Covers } from "./near/covers.js";
import type { EntryOptions, Selector } from "./options.js";
import { MAX_BATCH } from "./reads.js";
import type { Context, Service } from "./service.js";

/** Maximum bytes of the values of one batch. */
const MAX_BATCH_BYTES = 2 * 1024 * 1024;

/** Content of an entry. */
export type Content = NonNullable<SetRequest["content"]>;
/** Condition of a write. */
export type Condition = SetRequest["condition"];
/** Receives what a write of this client covers. */
export type Changed = (namespace: string, covers: Covers) => void;

/** An entry to write. */
export interface Entry {
  readonly key: string;
  readonly content: Content;
  readonly contentType: string;
  readonly options: EntryOptions;
  readonly condition?: Condition;
}

/** Result of an invalidation. */
export interface Invalidated {
  /** False if the service did not carry it out. */
  readonly done: boolean;
  /** Number of the named keys that had an entry, if it is known. */
  readonly removed: number | undefined;
}

/** Writes entries, and invalidates them. */
export class Writer {
  constructor(
    private readonly service: Service,
    private readonly changed: Changed,
  ) {}

  /** Writes an entry. Returns whether it was stored. Throws if the service fails. */
  async set(context: Context, entry: Entry): Promise<boolean> {
    const request = setRequest(context.namespace, entry);
    const covers = { keys: [entry.key] };
    const response = await this.#change(context, covers, () =>
      this.service.call(CacheServiceService.set, request, context),
    );
    return this.#stored(response.outcome);
  }

  /** Writes entries. Returns the keys of those that were stored. */
  async setMany(context: Context, entries: readonly Entry[]): Promise<string[]> {
    const stored: string[] = [];
    for (const chunk of chunksOf(entries)) {
      const done = await this.service.open(context, this.#setChunk(context, chunk));
      stored.push(...(done ?? []));
    }
    return stored;
  }

  async touch(context: Context, key: string, ttl: Duration): Promise<boolean> {
    checkKey(key);
    const request: TouchRequest = {
      namespace: context.namespace,
      key,
      expiry: { $case: "ttl", value: required("ttl", ttl) },
      mode: TouchMode.TOUCH_MODE_UNSPECIFIED,
      tokens: [],
    };
    const response = await this.#change(context, { keys: [key] }, () =>
      this.service.call(CacheServiceService.touch, request, context),
    );
    return response.outcome === TouchOutcome.TOUCH_OUTCOME_TOUCHED;
  }

  async invalidate(
    context: Context,
    selector: Selector,
    sourceVersion: number | bigint | undefined,
  ): Promise<Invalidated> {
    const selected = selectorOf(selector);
    const request: InvalidateRequest = {
      namespace: context.namespace,
      selector: selected,
      tokens: [],
      barrier: Barrier.BARRIER_UNSPECIFIED,
      mode: Mode.MODE_UNSPECIFIED,
      sourceVersion: versionOf(sourceVersion),
      namespaces: [],
      allNamespaces: false,
    };
    const response = await this.#change(context, coversOf(selected), () =>
      this.service.call(CacheServiceService.invalidate, request, context),
    );
    const removed = response.removed === undefined ? undefined : Number(response.removed);
    return { done: true, removed };
  }

  /** Returns a lease. With `failed`, returns the stale value if the service keeps one. */
  async release(context: Context, key: string, lease: string, failed: boolean) {
    const response = await this.service.send(
      CacheServiceService.releaseLease,
      { namespace: context.namespace, key, lease, failed, retryAfter: undefined },
      context,
    );
    return response.stale;
  }

  async #setChunk(context: Context, entries: readonly Entry[]): Promise<string[]> {
    const items = entries.map((entry) => setRequest("", entry));
    const request = {
      namespace: context.namespace,
      items,
      tokens: [],
      barrier: Barrier.BARRIER_UNSPECIFIED,
    };
    const covers = { keys: entries.map(({ key }) => key) };
    const response = await this.#change(
      context,
      covers,
      () => this.service.call(CacheServiceService.batchSet, request, context),
      entries.length,
    );
    return response.results.flatMap(({ outcome, error }, index) => {
      if (error !== undefined) {
        this.#itemFailed(context, new TwintierError("unavailable", error.message, error));
      }
      return this.#stored(outcome) ? [entries[index]?.key ?? ""] : [];
    });
  }

  #itemFailed(context: Context, error: TwintierError): void {
    if (context.strict) {
      throw error;
    }
    this.service.recorder.failure(error);
  }

  /** Carries out a change. Entries of this process are dropped before and after it. */
  async #change<R>(
    context: Context,
    covers: Covers,
    call: () => Promise<R>,
    entries = 1,
  ): Promise<R> {
    this.changed(context.namespace, covers);
    try {
      return await call();
    } catch (error) {
      this.service.recorder.counters.notStored += entries;
      throw error;
    } finally {
      this.changed(context.namespace, covers);
    }
  }

  #stored(outcome: SetOutcome): boolean {
    const stored = outcome === SetOutcome.SET_OUTCOME_STORED;
    this.service.recorder.counters.notStored += stored ? 0 : 1;
    return stored;
  }
}

/** Fails if an option of an entry is wrong. */
export function checkEntryOptions(options: EntryOptions): void {
  toMessage("ttl", options.ttl);
  toMessage("softTtl", options.softTtl);
  tagsOf(options.tags);
  versionOf(options.sourceVersion);
  jitterOf(options.jitter);
}

function setRequest(namespace: string, entry: Entry): SetRequest {
  const { key, content, contentType, options, condition } = entry;
  checkKey(key);
  const ttl = toMessage("ttl", options.ttl);
  return {
    namespace,
    key,
    content,
    contentType,
    expiry: ttl === undefined ? undefined : { $case: "ttl", value: ttl },
    condition,
    tokens: [],
    barrier: Barrier.BARRIER_UNSPECIFIED,
    sourceVersion: versionOf(options.sourceVersion),
    softTtl: toMessage("softTtl", options.softTtl),
    jitter: jitterOf(options.jitter),
    tags: tagsOf(options.tags),
    requestId: randomUUID(),
  };
}

function required(field: string, duration: Duration) {
  const message = toMessage(field, duration);
  if (message === undefined) {
    throw usage(`${field} is undefined; it must be a duration`);
  }
  return message;
}

function tagsOf(tags: readonly string[] | undefined): string[] {
  if (tags !== undefined && !Array.isArray(tags)) {
    throw usage(`tags is ${JSON.stringify(tags)}; it must be a list of texts`);
  }
  return tags === undefined ? [] : [...(tags as readonly string[])];
}

function jitterOf(jitter: number | undefined): number | undefined {
  if (jitter !== undefined && !(jitter >= 0 && jitter <= 0.5)) {
    throw usage(`jitter is ${jitter}; it must be from 0 to 0.5`);
  }
  return jitter;
}

function versionOf(version: number | bigint | undefined): bigint | undefined {
  if (version === undefined) {
    return undefined;
  }
  const safe = typeof version === "bigint" || Number.isSafeInteger(version);
  if (!safe || version < 0 || version >= 2n ** 64n) {
    throw usage(`sourceVersion is ${version}; it must be an integer from 0 to 2^64 - 1`);
  }
  return BigInt(version);
}

const SELECTORS = ["keys", "tags", "prefix", "pattern", "all"] as const;

function selectorOf(selector: Selector): NonNullable<InvalidateRequest["selector"]> {
  const given = SELECTORS.filter((name) => selector[name] !== undefined);
  const unknown = Object.keys(selector).find((name) => !SELECTORS.includes(name as never));
  if (given.length !== 1 || unknown !== undefined) {
    throw usage(
      `an invalidation has ${unknown ?? (given.join(" and ") || "no selector")}; ` +
        `it must have exactly one of ${SELECTORS.join(", ")}`,
    );
  }
  if (selector.keys !== undefined) {
    const [first = "", ...others] = listOf("keys", selector.keys);
    return others.length === 0
      ? { $case: "key", value: first }
      : { $case: "keys", value: { keys: [first, ...others] } };
  }
  if (selector.tags !== undefined) {
    return { $case: "tags", value: { tags: listOf("tags", selector.tags) } };
  }
  if (selector.prefix !== undefined) {
    return { $case: "prefix", value: selector.prefix };
  }
  return selector.pattern === undefined
    ? { $case: "wholeNamespace", value: {} }
    : { $case: "pattern", value: selector.pattern };
}

function listOf(field: string, given: string | readonly string[]): string[] {
  const list = typeof given === "string" ? [given] : [...given];
  if (list.length === 0) {
    throw usage(`${field} is empty; it must have at least one element`);
  }
  return list;
}

function coversOf(selector: NonNullable<InvalidateRequest["selector"]>): Covers {
  switch (selector.$case) {
    case "key":
      return { keys: [selector.value] };
    case "keys":
      return { keys: selector.value.keys };
    case "prefix":
      return { prefix: selector.value };
    case "pattern":
      return { pattern: selector.value };
    default:
      return { all: true };
  }
}

/** Splits entries into batches that the service accepts. */
function chunksOf(entries: readonly Entry[]): Entry[][] {
  const chunks: Entry[][] = [];
  let bytes = 0;
  for (const entry of entries) {
    const size = entry.content.$case === "value" ? entry.content.value.length : 0;
    const last = chunks.at(-1);
    if (last === undefined || last.length >= MAX_BATCH || bytes + size > MAX_BATCH_BYTES) {
      chunks.push([entry]);
      bytes = size;
    } else {
      last.push(entry);
      bytes += size;
    }
  }
  return chunks;
}
