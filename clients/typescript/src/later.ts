/** A write in the background. */
export interface LaterWrite {
  /** Writes with equal groups may be sent together; others are sent on their own. */
  readonly group: string | undefined;
  /** Key of the write, if it has a group. A batch has each key once. */
  readonly key: string;
}

/** Maximum number of writes that are sent together. */
const MAX_IN_FLIGHT = 16;

/** A bounded queue of writes, which are sent in their order. */
export class LaterQueue<W extends LaterWrite> {
  readonly #waiting: W[] = [];
  #sending: Promise<void> | undefined;
  #lost = 0;

  /** `send` returns the number of writes that were lost, and does not fail. */
  constructor(
    private readonly capacity: number,
    private readonly send: (batch: readonly [W, ...W[]]) => Promise<number>,
    private readonly dropped: () => void,
  ) {}

  /** Adds a write. If the queue is full, drops the oldest one. */
  push(write: W): void {
    if (this.#waiting.length >= this.capacity) {
      this.#waiting.shift();
      this.#drop();
    }
    this.#waiting.push(write);
    this.#sending ??= this.#run();
  }

  /** Sends what waits, for a time at most. Returns false if writes were lost meanwhile. */
  async drain(limit: number): Promise<boolean> {
    const lostBefore = this.#lost;
    let timer: NodeJS.Timeout | undefined;
    const over = new Promise<"over">((resolve) => {
      timer = setTimeout(resolve, limit, "over");
    });
    const outcome = await Promise.race([this.#sending, over]);
    clearTimeout(timer);
    for (const _write of this.#waiting.splice(0)) {
      this.#drop();
    }
    return outcome !== "over" && this.#lost === lostBefore;
  }

  #drop(): void {
    this.#lost += 1;
    this.dropped();
  }

  async #run(): Promise<void> {
    let batch = this.#next();
    while (batch !== undefined) {
      // Added after the wait: a write may be dropped meanwhile.
      const lost = await this.send(batch);
      this.#lost += lost;
      batch = this.#next();
    }
    this.#sending = undefined;
  }

  /** Takes the oldest write, and those after it that may be sent together with it. */
  #next(): [W, ...W[]] | undefined {
    const first = this.#waiting.shift();
    if (first === undefined) {
      return undefined;
    }
    const batch: [W, ...W[]] = [first];
    const keys = new Set([first.key]);
    let next = this.#waiting[0];
    while (next !== undefined && batch.length < MAX_IN_FLIGHT) {
      if (first.group === undefined || next.group !== first.group || keys.has(next.key)) {
        break;
      }
      batch.push(next);
      keys.add(next.key);
      this.#waiting.shift();
      next = this.#waiting[0];
    }
    return batch;
  }
}
