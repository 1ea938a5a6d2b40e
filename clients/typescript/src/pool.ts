/** Runs tasks in the background: a limited number at a time, and no more. */
export class Pool {
  readonly #running = new Set<Promise<void>>();

  constructor(private readonly limit: number) {}

  /** Starts a task that does not fail. Returns false if the pool is full. */
  run(task: () => Promise<void>): boolean {
    if (this.#running.size >= this.limit) {
      return false;
    }
    const running = task().finally(() => this.#running.delete(running));
    this.#running.add(running);
    return true;
  }

  /** Resolves when all tasks have ended. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) {
      await Promise.all(this.#running);
    }
  }
}
