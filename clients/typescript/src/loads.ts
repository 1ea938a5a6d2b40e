import { isAway, TwintierError } from "./errors.js";
import { NEVER, type Flight, type Flights } from "./flights.js";
import type { LeasedReader } from "./leases.js";
import type { LoadOptions } from "./options.js";
import type { Pool } from "./pool.js";
import type { Reader, Reading } from "./reads.js";
import { decodeValue, encodeValue, type Serializer } from "./serializers.js";
import type { Context, Service } from "./service.js";
import type { Condition, Content, Writer } from "./writes.js";

/** Facts for a loader. */
export interface LoadContext {
  /** The key to load. */
  readonly key: string;
  /** Aborts when every caller was cancelled. */
  readonly signal: AbortSignal;
}

/** Loads a value. `undefined` means that the thing does not exist. */
export type Loader<T> = (context: LoadContext) => T | undefined | Promise<T | undefined>;

/** One run of getOrSet. */
interface Job {
  readonly context: Context;
  readonly key: string;
  readonly loader: Loader<unknown>;
  readonly options: LoadOptions;
  readonly signal: AbortSignal;
  readonly background: boolean;
}

/** Gets values, and loads those that are missing. */
export class LoadingReader {
  constructor(
    private readonly service: Service,
    private readonly reader: Reader,
    private readonly leases: LeasedReader,
    private readonly writer: Writer,
    private readonly serializer: Serializer,
    private readonly flights: Flights,
    private readonly pool: Pool,
  ) {}

  /** Returns the value, `undefined` for "absent", or fails as the loader does. */
  async getOrSet(
    context: Context,
    key: string,
    loader: Loader<unknown>,
    options: LoadOptions,
  ): Promise<unknown> {
    const { tokens, signal } = context;
    signal?.throwIfAborted();
    if (tokens === undefined) {
      return this.#share("", context, key, loader, options).join(signal);
    }
    // Sessions without tokens share calls with each other: they require nothing of the answer.
    let flight: Flight<unknown> | undefined;
    const joined = tokens.join(
      () => {
        flight = this.#share("0", { ...context, tokens: undefined }, key, loader, options);
        return flight.join(signal);
      },
      () => flight?.token ?? "",
    );
    const identity = `${tokens.id} ${tokens.text}`;
    return joined ?? this.#share(identity, context, key, loader, options).join(signal);
  }

  #share(
    scope: string,
    context: Context,
    key: string,
    loader: Loader<unknown>,
    options: LoadOptions,
  ): Flight<unknown> {
    const identity = `${scope}\n${context.namespace}\n${key}`;
    const shared = this.flights.find(identity);
    if (shared !== undefined) {
      this.service.recorder.counters.shared += 1;
      return shared;
    }
    const cancellable = context.signal !== undefined;
    return this.flights.begin(identity, context.namespace, key, cancellable, (flight) => {
      const observe = (token: string) => {
        flight.token = token;
      };
      const shared = { ...context, signal: flight.cancellation, observe };
      const { signal } = flight;
      return this.#answer({ context: shared, key, loader, options, signal, background: false });
    });
  }

  async #answer(job: Job): Promise<unknown> {
    const { context, key, options } = job;
    const near = this.reader.fromNear(context, key, options);
    if (near !== undefined) {
      return near.kind === "hit" ? near.value : undefined;
    }
    const reading = await this.#find(job);
    if (reading === undefined) {
      return this.#load(job);
    }
    switch (reading.kind) {
      case "hit":
      case "absent":
        if (reading.lease !== undefined) {
          this.#refresh(job, reading.lease);
        }
        return reading.kind === "hit" ? reading.value : undefined;
      case "unreadable":
        return this.#replace(job, reading);
      case "miss":
        return reading.lease === undefined ? this.#load(job) : this.#fill(job, reading.lease);
    }
  }

  /** Reads the entry and counts the answer. Returns `undefined` if the service is away. */
  #find(job: Job): Promise<Reading | undefined> {
    const { context, key } = job;
    const find = async () => {
      try {
        const reading = await this.leases.read(context, key, job.options);
        this.reader.count(context, key, reading);
        return reading;
      } catch (error) {
        this.reader.failed(context, key, error);
        throw error;
      }
    };
    return this.service.open(context, find());
  }

  /** Runs the loader, and counts. Rejects earlier if every caller was cancelled. */
  async #load(job: Job): Promise<unknown> {
    const { signal } = job;
    signal.throwIfAborted();
    return untilAborted(this.#counted(job), signal);
  }

  async #counted(job: Job): Promise<unknown> {
    const { key, signal, background } = job;
    const { namespace } = job.context;
    const { recorder } = this.service;
    const began = performance.now();
    const event = () => ({ namespace, key, duration: performance.now() - began, background });
    try {
      const value = await job.loader({ key, signal });
      recorder.load(event());
      return value;
    } catch (error) {
      recorder.load({ ...event(), error });
      throw error;
    }
  }

  /** Runs the loader, and stores the value with the lease. */
  async #fill(job: Job, lease: string): Promise<unknown> {
    let value: unknown;
    try {
      value = await this.#load(job);
    } catch (error) {
      return this.#failed(job, lease, error);
    }
    if (!(await this.#store(job, value, { $case: "lease", value: lease }))) {
      await this.#release(job, lease, false);
    }
    return value;
  }

  /** Releases the lease. Returns a stale value if the caller accepts one, else fails. */
  async #failed(job: Job, lease: string, error: unknown): Promise<unknown> {
    const cancelled = job.signal.aborted;
    const stale = await this.#release(job, lease, !cancelled);
    if (job.options.staleIfError === true && stale !== undefined && !cancelled) {
      try {
        const value = decodeValue(this.serializer, stale.value, stale.contentType);
        this.service.recorder.counters.stale += 1;
        this.service.recorder.failure(error);
        return value;
      } catch {
        this.service.recorder.counters.unreadable += 1;
      }
    }
    throw error;
  }

  /** Overwrites a value that could not be read, unless another one replaced it meanwhile. */
  async #replace(job: Job, reading: Reading & { kind: "unreadable" }): Promise<unknown> {
    if (reading.lease !== undefined) {
      return this.#fill(job, reading.lease);
    }
    const value = await this.#load(job);
    await this.#store(job, value, { $case: "ifVersion", value: reading.version });
    return value;
  }

  #refresh(job: Job, lease: string): void {
    const context = { ...job.context, signal: undefined, tokens: undefined, observe: undefined };
    const refresh = { ...job, context, signal: NEVER, background: true };
    const admitted = this.pool.run(async () => {
      try {
        await this.#fill(refresh, lease);
      } catch (error) {
        this.service.recorder.failure(error);
      }
    });
    if (!admitted) {
      void this.#release(refresh, lease, false);
    }
  }

  /** Stores a value. Returns false if the lease has to be released. Does not fail. */
  async #store(job: Job, value: unknown, condition: Condition): Promise<boolean> {
    const context = { ...job.context, signal: undefined };
    const { key } = job;
    const { recorder } = this.service;
    let content: Content;
    try {
      content =
        value === undefined
          ? { $case: "knownAbsent", value: {} }
          : { $case: "value", value: Buffer.from(encodeValue(this.serializer, value)) };
    } catch (error) {
      recorder.counters.notStored += 1;
      recorder.failure(error);
      return false;
    }
    const negative = value === undefined;
    const options = negative ? negativeOptions(job.options) : job.options;
    const contentType = negative ? "" : this.serializer.contentType;
    try {
      await this.writer.set(context, { key, content, contentType, options, condition });
    } catch (error) {
      recorder.failure(error);
      // If the service is away, so is the lease.
      return error instanceof TwintierError && isAway(error);
    }
    return true;
  }

  /** Releases a lease. Returns the stale value, if there is one. Does not fail. */
  async #release(job: Job, lease: string, failed: boolean) {
    try {
      const context = { ...job.context, signal: undefined };
      return await this.writer.release(context, job.key, lease, failed);
    } catch (error) {
      this.service.recorder.failure(error);
      return undefined;
    }
  }
}

/** Returns the options of a negative entry. */
export function negativeOptions(options: LoadOptions) {
  const { tags, sourceVersion, negativeTtl } = options;
  return { tags, sourceVersion, ttl: negativeTtl };
}

function untilAborted<R>(result: Promise<R>, signal: AbortSignal): Promise<R> {
  if (signal === NEVER) {
    return result;
  }
  return new Promise<R>((resolve, reject) => {
    const abort = () => {
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", abort, { once: true });
    result
      .finally(() => {
        signal.removeEventListener("abort", abort);
      })
      .then(resolve, reject);
  });
}
