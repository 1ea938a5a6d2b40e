import type { Counters } from "./counters.js";
import { zeroCounters } from "./counters.js";

/** A read that returned a value or "absent". */
export interface HitEvent {
  readonly namespace: string;
  readonly key: string;
  /** Memory of this client, or the service. */
  readonly tier: "near" | "service";
  /** True if the value is past its end. */
  readonly stale: boolean;
  /** True if the answer is "absent". */
  readonly negative: boolean;
}

/** A read that found nothing. */
export interface MissEvent {
  readonly namespace: string;
  readonly key: string;
}

/** A run of a loader that ended. */
export interface LoadEvent {
  readonly namespace: string;
  readonly key: string;
  /** Milliseconds that it took. */
  readonly duration: number;
  /** True for a refresh in the background. */
  readonly background: boolean;
  /** The error, if the loader failed. */
  readonly error?: unknown;
}

/** A call of the service that ended. */
export interface CallEvent {
  /** Name of the RPC, such as `"Get"`. */
  readonly method: string;
  /** Milliseconds that it took. */
  readonly duration: number;
  /** The error, if the call failed. */
  readonly error?: unknown;
}

/** An error that a client that is not strict hides, or that has no caller. */
export interface FailureEvent {
  readonly error: unknown;
}

/**
 * Functions that receive events. All are optional.
 *
 * An error that a function throws is ignored.
 */
export interface Hooks {
  readonly onHit?: (event: HitEvent) => void;
  readonly onMiss?: (event: MissEvent) => void;
  readonly onLoad?: (event: LoadEvent) => void;
  readonly onCall?: (event: CallEvent) => void;
  readonly onFailure?: (event: FailureEvent) => void;
  /** Adds metadata to a call, such as the context of a trace. */
  readonly inject?: (set: (name: string, value: string) => void) => void;
  /** Called once with a function that reads the counters. The result is called by `close`. */
  readonly attach?: (counters: () => Counters) => (() => void) | undefined;
}

/** Counts, and calls the hooks. */
export class Recorder {
  readonly counters: Counters = zeroCounters();
  readonly #detach: (() => void) | undefined;

  constructor(readonly hooks: Hooks) {
    this.#detach = hooks.attach?.(() => ({ ...this.counters }));
  }

  hit(event: HitEvent): void {
    this.counters[event.negative ? "negativeHits" : "hits"] += 1;
    this.counters.nearHits += event.tier === "near" && !event.negative ? 1 : 0;
    this.counters.stale += event.stale ? 1 : 0;
    this.#tell(this.hooks.onHit, event);
  }

  miss(event: MissEvent): void {
    this.counters.misses += 1;
    this.#tell(this.hooks.onMiss, event);
  }

  load(event: LoadEvent): void {
    this.counters.loads += 1;
    this.counters.loadFailures += event.error === undefined ? 0 : 1;
    this.counters.refreshes += event.background ? 1 : 0;
    this.#tell(this.hooks.onLoad, event);
  }

  call(event: CallEvent): void {
    this.#tell(this.hooks.onCall, event);
  }

  failure(error: unknown): void {
    this.#tell(this.hooks.onFailure, { error });
  }

  close(): void {
    this.#detach?.();
  }

  #tell<E>(hook: ((event: E) => void) | undefined, event: E): void {
    try {
      hook?.call(this.hooks, event);
    } catch {
      // A hook is never the reason that a caller fails.
    }
  }
}
