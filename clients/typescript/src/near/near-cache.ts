import { LRUCache } from "lru-cache";
import { matcher, type Covers } from "./covers.js";

/** Bytes that an entry takes beside its key and its value. */
const OVERHEAD = 200;
/** Maximum number of changed keys that are remembered between two heartbeats. */
const MAX_CHANGED = 10_000;

/** An entry in the memory of this client. */
export interface NearEntry {
  /** The value, or `undefined` for a negative entry. */
  readonly value: Uint8Array | undefined;
  readonly contentType: string;
  /** Time at which the entry ends. */
  readonly endsAt: number;
}

/** A read whose answer may be kept. */
export interface Ticket {
  readonly key: string;
  /** Token that the read presents. */
  readonly token: string;
  /** True if a change may have made the answer outdated. */
  void: boolean;
}

/**
 * Entries in the memory of this client, by the rules of docs/watch.md.
 *
 * A watch reports changes and heartbeats. An entry is answered only while a heartbeat proves that
 * it is not staler than allowed.
 */
export class NearCache {
  readonly #entries: LRUCache<string, NearEntry>;
  /** Reads in flight. */
  readonly #reads = new Map<string, Set<Ticket>>();
  /** Keys that changed since the last heartbeat. */
  readonly #changed = new Set<string>();
  /** True if a change since the last heartbeat covers more than keys. */
  #allChanged = false;
  #token: string | undefined;
  /** Every change that was acknowledged before this time has arrived. */
  #provenAt: number | undefined;

  constructor(
    maxBytes: number,
    readonly maxStaleness: number,
  ) {
    this.#entries = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: (entry, key) => OVERHEAD + 2 * key.length + (entry.value?.length ?? 0),
    });
  }

  /** Bytes in use. */
  get bytes(): number {
    return this.#entries.calculatedSize;
  }

  /** Returns the entry, unless it may be staler than allowed. */
  get(key: string, maxStaleness = this.maxStaleness): NearEntry | undefined {
    const now = performance.now();
    const allowed = Math.min(maxStaleness, this.maxStaleness);
    if (this.#provenAt === undefined || now > this.#provenAt + allowed) {
      return undefined;
    }
    const entry = this.#entries.get(key);
    if (entry !== undefined && now >= entry.endsAt) {
      this.#entries.delete(key);
      return undefined;
    }
    return entry;
  }

  /** Begins a read. Returns `undefined` if its answer could not be kept. */
  begin(key: string): Ticket | undefined {
    if (this.#token === undefined || this.#allChanged || this.#changed.has(key)) {
      return undefined;
    }
    const ticket = { key, token: this.#token, void: false };
    const reads = this.#reads.get(key) ?? new Set();
    this.#reads.set(key, reads.add(ticket));
    return ticket;
  }

  /** Ends a read, and keeps its answer if there is one and no change may cover it. */
  end(ticket: Ticket, entry: NearEntry | undefined): void {
    const reads = this.#reads.get(ticket.key);
    reads?.delete(ticket);
    if (reads?.size === 0) {
      this.#reads.delete(ticket.key);
    }
    if (entry !== undefined && !ticket.void) {
      this.#entries.set(ticket.key, entry);
    }
  }

  /** Drops the entries that a change covers. */
  changed(covers: Covers): void {
    if ("keys" in covers) {
      for (const key of covers.keys) {
        this.#keyChanged(key);
      }
    } else {
      this.#manyChanged(covers);
    }
  }

  /** Drops everything, because changes may have been missed. */
  discontinuity(): void {
    this.#manyChanged({ all: true });
    this.#token = undefined;
    this.#provenAt = undefined;
  }

  /** Notes the proof of a heartbeat. `provenAt` is absent if it proves nothing. */
  heartbeat(token: string, provenAt: number | undefined): void {
    this.#token = token;
    this.#provenAt = provenAt;
    this.#changed.clear();
    this.#allChanged = false;
  }

  #keyChanged(key: string): void {
    this.#entries.delete(key);
    for (const ticket of this.#reads.get(key) ?? []) {
      ticket.void = true;
    }
    if (this.#changed.size < MAX_CHANGED) {
      this.#changed.add(key);
    } else {
      this.#allChanged = true;
    }
  }

  #manyChanged(covers: Covers): void {
    const covered = matcher(covers);
    if ("all" in covers) {
      this.#entries.clear();
    } else {
      for (const key of [...this.#entries.keys()].filter(covered)) {
        this.#entries.delete(key);
      }
    }
    for (const [key, tickets] of this.#reads) {
      for (const ticket of covered(key) ? tickets : []) {
        ticket.void = true;
      }
    }
    this.#allChanged = true;
  }
}
