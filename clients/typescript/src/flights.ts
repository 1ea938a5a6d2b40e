import { matcher, type Covers } from "./near/covers.js";

/** A signal that never aborts. */
export const NEVER = new AbortController().signal;

/** A call that several callers share. */
export class Flight<R> {
  #callers = 0;
  /** Without a controller, some caller cannot be cancelled, and neither can the call. */
  #controller: AbortController | undefined;
  #result: Promise<R> = Promise.resolve(undefined as R);
  /** The token of the last answer that the call got. */
  token = "";

  constructor(
    readonly namespace: string,
    readonly key: string,
    cancellable: boolean,
    private readonly abandoned: () => void,
  ) {
    this.#controller = cancellable ? new AbortController() : undefined;
  }

  /** Aborts when every caller was cancelled. */
  get signal(): AbortSignal {
    return this.#controller?.signal ?? NEVER;
  }

  /** The signal, if the call can be cancelled at all. */
  get cancellation(): AbortSignal | undefined {
    return this.#controller?.signal;
  }

  start(run: () => Promise<R>): void {
    this.#result = run();
    // Without callers left, there is nobody to receive a failure.
    this.#result.catch(() => undefined);
  }

  /** Waits for the result, until the signal aborts. */
  join(signal: AbortSignal | undefined): Promise<R> {
    const result = this.#result;
    this.#callers += 1;
    if (signal === undefined) {
      return result;
    }
    return new Promise<R>((resolve, reject) => {
      const leave = () => {
        reject(signal.reason as Error);
        this.#left(signal.reason);
      };
      signal.addEventListener("abort", leave, { once: true });
      result
        .finally(() => {
          signal.removeEventListener("abort", leave);
        })
        .then(resolve, reject);
    });
  }

  #left(reason: unknown): void {
    this.#callers -= 1;
    if (this.#callers === 0) {
      this.abandoned();
      this.#controller?.abort(reason);
    }
  }
}

/** Calls in flight, each with its key. */
export class Flights {
  readonly #flights = new Map<string, Flight<unknown>>();

  /** Returns the flight with this identity, or `undefined`. */
  find(identity: string): Flight<unknown> | undefined {
    return this.#flights.get(identity);
  }

  /** Starts a flight. */
  begin<R>(
    identity: string,
    namespace: string,
    key: string,
    cancellable: boolean,
    run: (flight: Flight<R>) => Promise<R>,
  ): Flight<R> {
    const remove = () => {
      if (this.#flights.get(identity) === flight) {
        this.#flights.delete(identity);
      }
    };
    const flight = new Flight<R>(namespace, key, cancellable, remove);
    this.#flights.set(identity, flight);
    flight.start(() => run(flight).finally(remove));
    return flight;
  }

  /** Keeps later callers from sharing calls that began before a change. */
  detach(namespace: string, covers: Covers): void {
    if (this.#flights.size === 0) {
      return;
    }
    const covered = matcher(covers);
    for (const [identity, flight] of this.#flights) {
      if (flight.namespace === namespace && covered(flight.key)) {
        this.#flights.delete(identity);
      }
    }
  }
}
