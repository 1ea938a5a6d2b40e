import {
  Metadata,
  type CallOptions,
  type Client,
  type ClientReadableStream,
  type MethodDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import { fromServiceError, TwintierError } from "../errors.js";
import type { Hooks } from "../hooks.js";
import type { TokenSource } from "./token.js";

/** Definition of an RPC, as it is generated. */
export type Method<Request, Response> = MethodDefinition<Request, Response>;

/** Limits of one call. */
export interface CallLimits {
  /** Milliseconds until the deadline. */
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
}

interface Cancellable {
  cancel(): void;
}

/** Carries out RPCs on a channel, with credentials and the context of a trace. */
export class Transport {
  #closed = false;

  constructor(
    private readonly client: Client,
    private readonly tokens: TokenSource | undefined,
    private readonly inject: Hooks["inject"],
  ) {}

  /** Carries out a unary RPC. */
  unary<Q, R>(method: Method<Q, R>, request: Q, limits: CallLimits): Promise<R> {
    return this.#authenticated((metadata) => this.#unary(method, request, limits, metadata));
  }

  /** Carries out an RPC whose answer is a stream, and returns its messages. */
  collect<Q, R>(method: Method<Q, R>, request: Q, limits: CallLimits): Promise<R[]> {
    return this.#authenticated((metadata) => this.#collect(method, request, limits, metadata));
  }

  /** Opens a stream without a deadline. */
  async open<Q, R>(method: Method<Q, R>, request: Q): Promise<ClientReadableStream<R>> {
    const metadata = await this.#metadata(false);
    return this.#stream(method, request, metadata, {});
  }

  close(): void {
    this.#closed = true;
    this.client.close();
  }

  /** Calls with the token, and once more if the token was replaced meanwhile. */
  async #authenticated<R>(call: (metadata: Metadata) => Promise<R>): Promise<R> {
    if (this.#closed) {
      throw new TwintierError("unavailable", "the cache is closed");
    }
    const metadata = this.tokens === undefined ? this.#traced() : await this.#metadata(false);
    if (this.tokens === undefined) {
      return call(metadata);
    }
    try {
      return await call(metadata);
    } catch (error) {
      const renewed = await this.#renewed(error, metadata);
      if (renewed === undefined) {
        throw error;
      }
      return call(renewed);
    }
  }

  async #renewed(error: unknown, sent: Metadata): Promise<Metadata | undefined> {
    if (!(error instanceof TwintierError) || error.kind !== "unauthenticated") {
      return undefined;
    }
    const metadata = await this.#metadata(true);
    const same = metadata.get("authorization")[0] === sent.get("authorization")[0];
    return same ? undefined : metadata;
  }

  async #metadata(renew: boolean): Promise<Metadata> {
    const metadata = this.#traced();
    if (this.tokens !== undefined) {
      metadata.set("authorization", `Bearer ${await this.tokens.current(renew)}`);
    }
    return metadata;
  }

  #traced(): Metadata {
    const metadata = new Metadata();
    try {
      this.inject?.((name, value) => {
        metadata.set(name, value);
      });
    } catch {
      // A hook is never the reason that a caller fails.
    }
    return metadata;
  }

  #unary<Q, R>(
    method: Method<Q, R>,
    request: Q,
    limits: CallLimits,
    metadata: Metadata,
  ): Promise<R> {
    return cancellable(limits.signal, (resolve, reject) =>
      this.client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        metadata,
        { deadline: Date.now() + limits.timeout },
        (error, response) => {
          if (error !== null) {
            reject(error);
          } else {
            resolve(response as R);
          }
        },
      ),
    );
  }

  #collect<Q, R>(
    method: Method<Q, R>,
    request: Q,
    limits: CallLimits,
    metadata: Metadata,
  ): Promise<R[]> {
    return cancellable(limits.signal, (resolve, reject) => {
      const messages: R[] = [];
      const deadline = Date.now() + limits.timeout;
      const stream = this.#stream(method, request, metadata, { deadline });
      stream.on("data", (message: R) => messages.push(message));
      stream.on("end", () => {
        resolve(messages);
      });
      stream.on("error", (error) => {
        reject(error as ServiceError);
      });
      return stream;
    });
  }

  #stream<Q, R>(
    method: Method<Q, R>,
    request: Q,
    metadata: Metadata,
    options: CallOptions,
  ): ClientReadableStream<R> {
    return this.client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      metadata,
      options,
    );
  }
}

/** Runs a call that the signal cancels. Rejects with the reason of the signal. */
function cancellable<R>(
  signal: AbortSignal | undefined,
  start: (resolve: (value: R) => void, reject: (error: ServiceError) => void) => Cancellable,
): Promise<R> {
  return new Promise<R>((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason as Error);
      return;
    }
    const cancel = () => {
      call.cancel();
      reject(signal?.reason as Error);
    };
    const call = start(
      (value) => {
        signal?.removeEventListener("abort", cancel);
        resolve(value);
      },
      (error) => {
        signal?.removeEventListener("abort", cancel);
        reject(fromServiceError(error));
      },
    );
    signal?.addEventListener("abort", cancel, { once: true });
  });
}

