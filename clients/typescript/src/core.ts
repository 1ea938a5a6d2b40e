import type { Context, Service } from "./service.js";
import { checkKey, contextOf, type Defaults } from "./context.js";
import type { Flights } from "./flights.js";
import { LaterQueue, type LaterWrite } from "./later.js";
import type { LoadingReader } from "./loads.js";
import type { LaterOptions, Selector } from "./options.js";
import type { Reader } from "./reads.js";
import { encodeValue, type Serializer } from "./serializers.js";
import type { Entry, Writer } from "./writes.js";

/** The parts that a cache and its sessions share. */
export interface Core {
  readonly defaults: Defaults;
  readonly serializer: Serializer;
  readonly service: Service;
  readonly reader: Reader;
  readonly writer: Writer;
  readonly loads: LoadingReader;
  readonly flights: Flights;
}

/** Returns the entry of a value. Fails if the value cannot be encoded. */
export function entryOf(
  serializer: Serializer,
  key: string,
  value: unknown,
  options: Entry["options"],
): Entry {
  checkKey(key);
  const encoded = Buffer.from(encodeValue(serializer, value));
  const { contentType } = serializer;
  return { key, content: { $case: "value", value: encoded }, contentType, options };
}

type Write = LaterWrite & {
  readonly context: Context;
  readonly entry?: Entry;
  readonly selector?: Selector;
};

/** The background writes of a cache. */
export class LaterWrites {
  readonly #queue: LaterQueue<Write>;

  constructor(
    private readonly core: Core,
    capacity: number,
  ) {
    this.#queue = new LaterQueue<Write>(
      capacity,
      (batch) => this.#send(batch),
      () => {
        core.service.recorder.counters.laterDropped += 1;
      },
    );
  }

  set(key: string, value: unknown, options: LaterOptions): void {
    const entry = entryOf(this.core.serializer, key, value, options);
    const context = this.#context(options);
    this.#queue.push({ group: `${context.namespace} ${context.timeout}`, key, context, entry });
  }

  invalidate(selector: Selector, options: LaterOptions): void {
    this.#queue.push({ group: undefined, key: "", context: this.#context(options), selector });
  }

  drain(limit: number): Promise<boolean> {
    return this.#queue.drain(limit);
  }

  #context(options: LaterOptions): Context {
    const context = contextOf(this.core.defaults, options, undefined);
    return { ...context, strict: false, signal: undefined };
  }

  async #send(batch: readonly [Write, ...Write[]]): Promise<number> {
    const [{ context, selector }] = batch;
    try {
      if (selector !== undefined) {
        await this.core.writer.invalidate(context, selector, undefined);
        return 0;
      }
      const entries = batch.flatMap(({ entry }) => entry ?? []);
      return entries.length - (await this.#set(context, entries));
    } catch (error) {
      this.core.service.recorder.failure(error);
      return batch.length;
    }
  }

  /** Returns the number of stored entries. */
  async #set(context: Context, entries: readonly Entry[]): Promise<number> {
    const [first, ...others] = entries;
    if (first !== undefined && others.length === 0) {
      return (await this.core.writer.set(context, first)) ? 1 : 0;
    }
    return (await this.core.writer.setMany(context, entries)).length;
  }
}
