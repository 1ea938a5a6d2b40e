/** Failures in a row that open the breaker. */
const FAILURES = 3;
/** Milliseconds between two probes. */
const PROBE_INTERVAL = 1_000;

/** The breaker: keeps calls from being made while the service is away. */
export class Breaker {
  #failures = 0;
  /** Time of the next probe, while the breaker is open. */
  #probeAt: number | undefined;

  /** Whether a call may be made now. While the breaker is open, this call is then the probe. */
  admits(now = performance.now()): boolean {
    if (this.#probeAt === undefined) {
      return true;
    }
    if (now < this.#probeAt) {
      return false;
    }
    this.#probeAt = now + PROBE_INTERVAL;
    return true;
  }

  /** Closes the breaker. */
  succeeded(): void {
    this.#failures = 0;
    this.#probeAt = undefined;
  }

  /** Counts a failure. Returns true if it opened the breaker. */
  failed(now = performance.now()): boolean {
    this.#failures += 1;
    if (this.#probeAt !== undefined || this.#failures < FAILURES) {
      return false;
    }
    this.#probeAt = now + PROBE_INTERVAL;
    return true;
  }
}
