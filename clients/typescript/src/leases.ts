import { timeoutOf } from "./context.js";
import { toMessage } from "./duration.js";
import { TwintierError } from "./errors.js";
import { LeaseWait } from "./generated/twintier/v1/cache.js";
import type { LoadOptions } from "./options.js";
import type { Reader, Reading } from "./reads.js";
import type { Context } from "./service.js";
import { checkEntryOptions } from "./writes.js";

/** Wait for the lease of another caller, unless a call says otherwise. */
const LEASE_WAIT = 10_000;

/** Reads entries with a lease for those that are missing. */
export class LeasedReader {
  constructor(
    private readonly reader: Reader,
    private readonly leaseWait: number | undefined,
  ) {}

  /** Reads the entry, with a lease if there is none; waits if another caller has the lease. */
  async read(context: Context, key: string, options: LoadOptions): Promise<Reading> {
    let token: string | undefined;
    let weaker = options;
    if (options.consistency === "strong") {
      const strong = await this.reader.fetch(context, key, options, undefined);
      if (strong.reading.kind !== "miss") {
        return strong.reading;
      }
      token = strong.token;
      weaker = { ...options, consistency: "bounded" };
    }
    const duration = toMessage("leaseDuration", options.leaseDuration);
    const request = { staleIfError: false, token, wait: undefined };
    const first = await this.reader.fetch(context, key, weaker, {
      ...request,
      options: { duration, wait: LeaseWait.LEASE_WAIT_NONE },
    });
    if (first.reading.kind !== "miss" || !first.reading.leased) {
      return first.reading;
    }
    return this.#wait(first.reading, () =>
      this.reader.fetch(context, key, weaker, {
        ...request,
        options: { duration, wait: LeaseWait.LEASE_WAIT_UNTIL_DEADLINE },
        staleIfError: options.staleIfError ?? false,
        wait: this.#waitOf(options),
      }),
    );
  }

  async #wait(
    miss: Reading,
    fetch: () => Promise<{ reading: Reading }>,
  ): Promise<Reading> {
    try {
      return (await fetch()).reading;
    } catch (error) {
      // The end of the wait is no failure: the loader runs, and nothing is stored.
      if (error instanceof TwintierError && error.kind === "deadline") {
        return miss;
      }
      throw error;
    }
  }

  #waitOf(options: LoadOptions): number {
    if (options.leaseWait !== undefined) {
      return timeoutOf("leaseWait", options.leaseWait);
    }
    if (this.leaseWait !== undefined) {
      return this.leaseWait;
    }
    return options.leaseDuration === undefined
      ? LEASE_WAIT
      : timeoutOf("leaseDuration", options.leaseDuration);
  }
}

/** Fails if an option is wrong, before anything is read. */
export function checkLoadOptions(options: LoadOptions): void {
  checkEntryOptions(options);
  toMessage("negativeTtl", options.negativeTtl);
  toMessage("maxStaleness", options.maxStaleness);
  for (const name of ["leaseDuration", "leaseWait"] as const) {
    if (options[name] !== undefined) {
      timeoutOf(name, options[name]);
    }
  }
}
