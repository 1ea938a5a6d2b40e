import type { Breaker } from "./breaker.js";
import { failsOpen, isAway, TwintierError } from "./errors.js";
import type { Recorder } from "./hooks.js";
import type { SessionTokens } from "./tokens.js";
import type { CallLimits, Method, Transport } from "./transport/transport.js";

/** Settings of one call, with all defaults applied. */
export interface Context extends CallLimits {
  readonly namespace: string;
  readonly strict: boolean;
  /** The tokens of the session, if the call is part of one. */
  readonly tokens: SessionTokens | undefined;
  /** True if the near cache may answer. */
  readonly near: boolean;
  /** Receives the token of each answer, if the call is part of no session. */
  readonly observe?: ((token: string) => void) | undefined;
}

/** A request that presents tokens. */
interface Presenting {
  tokens: string[];
}

/** An answer that carries a token. */
interface Answer {
  readonly token: string;
}

/** The service as operations see it: behind the breaker, counted, with the session's tokens. */
export class Service {
  constructor(
    private readonly transport: Transport,
    private readonly breaker: Breaker,
    readonly recorder: Recorder,
  ) {}

  /** Carries out a unary RPC. */
  call<Q extends Presenting, R extends Answer>(
    method: Method<Q, R>,
    request: Q,
    context: Context,
  ): Promise<R> {
    return this.#presented(request, context, (answer) => answer.token, () =>
      this.send(method, request, context),
    );
  }

  /** Carries out a unary RPC that waits for a lease for `wait` milliseconds at most. */
  wait<Q extends Presenting, R extends Answer>(
    method: Method<Q, R>,
    request: Q,
    context: Context,
    wait: number,
  ): Promise<R> {
    const limits = { timeout: wait, signal: context.signal };
    return this.#presented(request, context, (answer) => answer.token, () =>
      this.#guarded(method.path, limits, true, () =>
        this.transport.unary(method, request, limits),
      ),
    );
  }

  /** Carries out an RPC whose answer is a stream. The last message has the token. */
  collect<Q extends Presenting, R extends Answer>(
    method: Method<Q, R>,
    request: Q,
    context: Context,
  ): Promise<R[]> {
    return this.#presented(request, context, (answers) => answers.at(-1)?.token ?? "", () =>
      this.#guarded(method.path, context, false, () =>
        this.transport.collect(method, request, context),
      ),
    );
  }

  /** Carries out a unary RPC without the tokens of a session. */
  send<Q, R>(method: Method<Q, R>, request: Q, context: Context): Promise<R> {
    return this.#guarded(method.path, context, false, () =>
      this.transport.unary(method, request, context),
    );
  }

  /** Returns the result, or `undefined` if the service failed and the call is not strict. */
  async open<R>(context: Context, call: Promise<R>): Promise<R | undefined> {
    try {
      return await call;
    } catch (error) {
      if (context.strict || !failsOpen(error)) {
        throw error;
      }
      this.recorder.failure(error);
      return undefined;
    }
  }

  #presented<R>(
    request: Presenting,
    context: Context,
    tokenOf: (answer: R) => string,
    call: () => Promise<R>,
  ): Promise<R> {
    const { observe } = context;
    if (context.tokens === undefined) {
      return observe === undefined ? call() : observed(call(), (answer) => {
        observe(tokenOf(answer));
      });
    }
    return context.tokens.carry((tokens) => {
      request.tokens = [...tokens, ...request.tokens];
      return call();
    }, tokenOf);
  }

  async #guarded<R>(
    path: string,
    limits: CallLimits,
    waits: boolean,
    call: () => Promise<R>,
  ): Promise<R> {
    if (!this.breaker.admits()) {
      this.recorder.counters.breakerSkipped += 1;
      throw new TwintierError("unavailable", "the service is away: the breaker is open");
    }
    const began = performance.now();
    try {
      const answer = await call();
      this.breaker.succeeded();
      this.#ended(path, began);
      return answer;
    } catch (error) {
      if (error instanceof TwintierError && limits.signal?.aborted !== true) {
        this.#failed(error, waits);
      }
      this.#ended(path, began, error);
      throw error;
    }
  }

  #failed(error: TwintierError, waits: boolean): void {
    const { counters } = this.recorder;
    counters.failures += 1;
    if (!isAway(error)) {
      this.breaker.succeeded();
    } else if (!(waits && error.kind === "deadline") && this.breaker.failed()) {
      counters.breakerOpened += 1;
    }
  }

  #ended(path: string, began: number, error?: unknown): void {
    if (this.recorder.hooks.onCall === undefined) {
      return;
    }
    const method = path.slice(path.lastIndexOf("/") + 1);
    const duration = performance.now() - began;
    this.recorder.call(error === undefined ? { method, duration } : { method, duration, error });
  }
}

async function observed<R>(call: Promise<R>, observe: (answer: R) => void): Promise<R> {
  const answer = await call;
  observe(answer);
  return answer;
}
