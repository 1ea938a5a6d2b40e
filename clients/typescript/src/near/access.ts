import { milliseconds } from "../duration.js";
import type { ReadOptions } from "../options.js";
import type { Context } from "../service.js";
import type { Covers } from "./covers.js";
import type { NearCache, NearEntry, Ticket } from "./near-cache.js";

/**
 * Decides which calls use the near cache.
 *
 * It has entries of one namespace. Sessions and strong reads do not use it, because it cannot tell
 * whether its entries are as new as they require.
 */
export class NearAccess {
  constructor(
    private readonly near: NearCache | undefined,
    private readonly namespace: string,
  ) {}

  get(context: Context, key: string, options: ReadOptions): NearEntry | undefined {
    const near = this.#usedBy(context);
    if (near === undefined || options.consistency === "strong") {
      return undefined;
    }
    return options.maxStaleness === undefined
      ? near.get(key)
      : near.get(key, milliseconds("maxStaleness", options.maxStaleness));
  }

  begin(context: Context, key: string): Ticket | undefined {
    return this.#usedBy(context)?.begin(key);
  }

  end(ticket: Ticket, entry: NearEntry | undefined): void {
    this.near?.end(ticket, entry);
  }

  /** Drops what a write of this client covers. */
  changed(namespace: string, covers: Covers): void {
    if (namespace === this.namespace) {
      this.near?.changed(covers);
    }
  }

  #usedBy(context: Context): NearCache | undefined {
    return context.near && context.namespace === this.namespace ? this.near : undefined;
  }
}
