import { toMessage, toMilliseconds } from "./duration.js";
import { TwintierError } from "./errors.js";
import {
  CacheServiceService,
  type BatchGetItem,
  type BatchGetRequest,
  type GetRequest,
  type GetResponse,
  type LeaseOptions,
} from "./generated/twintier/v1/cache.js";
import type { Duration as DurationMessage } from "./generated/google/protobuf/duration.js";
import {
  Consistency as ConsistencyMessage,
  MissReason,
  type EntryInfo,
} from "./generated/twintier/v1/values.js";
import type { NearAccess } from "./near/access.js";
import type { NearEntry, Ticket } from "./near/near-cache.js";
import type { ReadOptions } from "./options.js";
import { decodeValue, type Serializer } from "./serializers.js";
import type { Context, Service } from "./service.js";

/** Maximum number of keys of one batch (`limits.keys` of the service). */
export const MAX_BATCH = 1_000;
/** Maximum staleness of an "eventual" read: a day. */
const EVENTUAL: DurationMessage = { seconds: 86_400n, nanos: 0 };

/** The answer to a read. `lease` is there if the caller shall fill the entry. */
export type Reading =
  | { readonly kind: "hit"; readonly value: unknown; readonly stale: boolean; lease?: string }
  | { readonly kind: "absent"; readonly stale: boolean; lease?: string }
  | { readonly kind: "unreadable"; readonly version: string; lease?: string }
  | { readonly kind: "miss"; readonly leased: boolean; lease?: string };

/** Request for a lease, with the token that the answer must include. */
export interface LeaseRequest {
  readonly options: LeaseOptions;
  readonly staleIfError: boolean;
  readonly token: string | undefined;
  /** Milliseconds to wait for the lease of another caller. */
  readonly wait: number | undefined;
}

/** Reads entries: from the near cache, or from the service. */
export class Reader {
  constructor(
    private readonly service: Service,
    private readonly near: NearAccess,
    private readonly serializer: Serializer,
  ) {}

  /** Reads an entry, and counts the answer. Throws if the service fails. */
  async read(context: Context, key: string, options: ReadOptions): Promise<Reading> {
    const near = this.fromNear(context, key, options);
    if (near !== undefined) {
      return near;
    }
    try {
      const { reading } = await this.fetch(context, key, options, undefined);
      this.count(context, key, reading);
      return reading;
    } catch (error) {
      this.failed(context, key, error);
      throw error;
    }
  }

  /** Reads entries, and counts the answers. A part that fails is missing, unless strict. */
  async readMany(
    context: Context,
    keys: readonly string[],
    options: ReadOptions,
  ): Promise<Map<string, Reading>> {
    const readings = new Map<string, Reading>();
    for (const key of new Set(keys)) {
      const near = this.fromNear(context, key, options);
      if (near !== undefined) {
        readings.set(key, near);
      }
    }
    const missing = [...new Set(keys)].filter((key) => !readings.has(key));
    for (let from = 0; from < missing.length; from += MAX_BATCH) {
      const chunk = missing.slice(from, from + MAX_BATCH);
      await this.service.open(context, this.#fetchMany(context, chunk, options, readings));
    }
    return readings;
  }

  /** Returns the entry of the near cache, and counts it. */
  fromNear(context: Context, key: string, options: ReadOptions): Reading | undefined {
    const entry = this.near.get(context, key, options);
    if (entry === undefined) {
      return undefined;
    }
    const reading = this.#decoded(entry.value, entry.contentType, false, "");
    if (reading.kind !== "unreadable") {
      this.count(context, key, reading, "near");
      return reading;
    }
    return undefined;
  }

  /** Reads an entry from the service. The caller counts the answer. */
  async fetch(
    context: Context,
    key: string,
    options: ReadOptions,
    lease: LeaseRequest | undefined,
  ): Promise<{ reading: Reading; token: string }> {
    const ticket = this.near.begin(context, key);
    let kept: NearEntry | undefined;
    try {
      const request = getRequest(context, key, options, lease);
      const extra = ticket?.token ?? (context.tokens === undefined ? lease?.token : undefined);
      if (extra !== undefined) {
        request.tokens.push(extra);
      }
      const began = performance.now();
      const response = await (lease?.wait === undefined
        ? this.service.call(CacheServiceService.get, request, context)
        : this.service.wait(CacheServiceService.get, request, context, lease.wait));
      kept = ticket === undefined ? undefined : keepable(response.result, began);
      return { reading: this.#reading(response), token: response.token };
    } finally {
      if (ticket !== undefined) {
        this.near.end(ticket, kept);
      }
    }
  }

  /** Counts an answer, and calls the hooks. */
  count(context: Context, key: string, reading: Reading, tier: "near" | "service" = "service") {
    const { recorder } = this.service;
    const { namespace } = context;
    switch (reading.kind) {
      case "hit":
      case "absent": {
        const negative = reading.kind === "absent";
        recorder.hit({ namespace, key, tier, stale: reading.stale, negative });
        break;
      }
      case "unreadable":
        recorder.counters.unreadable += 1;
        recorder.miss({ namespace, key });
        break;
      case "miss":
        recorder.miss({ namespace, key });
    }
  }

  /** Counts a read that failed as a miss. */
  failed(context: Context, key: string, error: unknown): void {
    if (error instanceof TwintierError) {
      this.service.recorder.miss({ namespace: context.namespace, key });
    }
  }

  async #fetchMany(
    context: Context,
    keys: readonly string[],
    options: ReadOptions,
    readings: Map<string, Reading>,
  ): Promise<void> {
    const request: BatchGetRequest = {
      namespace: context.namespace,
      keys: [...keys],
      ...consistencyOf(options),
      tokens: [],
      metadataOnly: false,
    };
    const tickets = keys.map((key) => this.near.begin(context, key));
    const token = tickets.find((ticket) => ticket !== undefined)?.token;
    if (token !== undefined) {
      request.tokens.push(token);
    }
    const began = performance.now();
    try {
      const responses = await this.service.collect(CacheServiceService.batchGet, request, context);
      for (const item of responses.flatMap(({ items }) => items)) {
        const key = keys[item.index] ?? "";
        const reading = this.#itemReading(item, context);
        this.count(context, key, reading);
        readings.set(key, reading);
        this.#endTicket(tickets, item, began);
      }
    } catch (error) {
      for (const key of keys) {
        this.failed(context, key, error);
      }
      throw error;
    } finally {
      for (const ticket of tickets.filter((each) => each !== undefined)) {
        this.near.end(ticket, undefined);
      }
    }
  }

  #endTicket(tickets: (Ticket | undefined)[], item: BatchGetItem, began: number): void {
    const ticket = tickets[item.index];
    if (ticket !== undefined && item.result?.$case !== "error") {
      tickets[item.index] = undefined;
      this.near.end(ticket, keepable(item.result, began));
    }
  }

  #itemReading(item: BatchGetItem, context: Context): Reading {
    if (item.result?.$case !== "error") {
      return this.#resultReading(item.result);
    }
    const { code, message } = item.result.value;
    const error = new TwintierError("unavailable", message, { code });
    if (context.strict) {
      throw error;
    }
    this.service.recorder.failure(error);
    return { kind: "miss", leased: false };
  }

  #reading(response: GetResponse): Reading {
    const reading = this.#resultReading(response.result);
    if (response.lease !== undefined) {
      reading.lease = response.lease.id;
    }
    return reading;
  }

  #resultReading(result: GetResponse["result"]): Reading {
    switch (result?.$case) {
      case "hit": {
        const { value, contentType, entry } = result.value;
        return this.#decoded(value, contentType, isStale(entry), entry?.version ?? "");
      }
      case "negativeHit":
        return { kind: "absent", stale: isStale(result.value.entry) };
      default:
        return {
          kind: "miss",
          leased: result?.value.reason === MissReason.MISS_REASON_LEASED,
        };
    }
  }

  #decoded(
    value: Uint8Array | undefined,
    contentType: string,
    stale: boolean,
    version: string,
  ): Reading {
    if (value === undefined) {
      return { kind: "absent", stale };
    }
    try {
      return { kind: "hit", value: decodeValue(this.serializer, value, contentType), stale };
    } catch (error) {
      this.service.recorder.failure(error);
      return { kind: "unreadable", version };
    }
  }
}

function getRequest(
  context: Context,
  key: string,
  options: ReadOptions,
  lease: LeaseRequest | undefined,
): GetRequest {
  return {
    namespace: context.namespace,
    key,
    ...consistencyOf(options),
    tokens: [],
    metadataOnly: false,
    lease: lease?.options,
    staleIfError: lease?.staleIfError ?? false,
  };
}

const CONSISTENCIES = new Map<string | undefined, ConsistencyMessage>([
  [undefined, ConsistencyMessage.CONSISTENCY_UNSPECIFIED],
  ["bounded", ConsistencyMessage.CONSISTENCY_BOUNDED],
  ["eventual", ConsistencyMessage.CONSISTENCY_BOUNDED],
  ["strong", ConsistencyMessage.CONSISTENCY_STRONG],
]);

function consistencyOf(options: ReadOptions) {
  const consistency = CONSISTENCIES.get(options.consistency);
  if (consistency === undefined) {
    throw new TwintierError(
      "usage",
      `consistency is ${JSON.stringify(options.consistency)}; ` +
        `it must be "bounded", "strong" or "eventual"`,
    );
  }
  const maxStaleness =
    toMessage("maxStaleness", options.maxStaleness) ??
    (options.consistency === "eventual" ? EVENTUAL : undefined);
  return { consistency, maxStaleness };
}

function isStale(entry: EntryInfo | undefined): boolean {
  return entry?.stale !== undefined;
}

/** Returns what the near cache may keep of an answer. */
function keepable(result: GetResponse["result"], began: number): NearEntry | undefined {
  if (result === undefined || result.$case === "miss") {
    return undefined;
  }
  const { entry } = result.value;
  if (entry === undefined || entry.stale !== undefined || entry.refreshDue) {
    return undefined;
  }
  const endsAt = entry.ttl === undefined ? Infinity : began + toMilliseconds(entry.ttl);
  return result.$case === "hit"
    ? { value: result.value.value, contentType: result.value.contentType, endsAt }
    : { value: undefined, contentType: "", endsAt };
}
