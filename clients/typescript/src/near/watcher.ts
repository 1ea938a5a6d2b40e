import type { ClientReadableStream } from "@grpc/grpc-js";
import { fromMilliseconds, toMilliseconds } from "../duration.js";
import { fromServiceError } from "../errors.js";
import type { WatchHeartbeat, WatchRequest, WatchResponse } from "../generated/twintier/v1/watch.js";
import { MAX_PRESENTED } from "../tokens.js";
import { coversOf } from "./covers.js";
import type { NearCache } from "./near-cache.js";

/** Milliseconds of silence after which a watch is begun anew. */
const SILENCE = 5_000;
const SHORTEST_PAUSE = 50;
const LONGEST_PAUSE = 5_000;

/** Opens a watch. */
export type OpenWatch = (request: WatchRequest) => Promise<ClientReadableStream<WatchResponse>>;

/** Feeds a near cache from a watch, which it resumes whenever it ends. */
export class Watcher {
  #tokens: string[] = [];
  #stream: ClientReadableStream<WatchResponse> | undefined;
  #pause = SHORTEST_PAUSE;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(
    private readonly near: NearCache,
    private readonly namespace: string,
    private readonly open: OpenWatch,
    private readonly failed: (error: unknown) => void,
  ) {}

  start(): void {
    void this.#watch();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stream?.cancel();
  }

  async #watch(): Promise<void> {
    if (this.#tokens.length === 0) {
      this.near.discontinuity();
    }
    const called = performance.now();
    try {
      const stream = await this.open(this.#request());
      this.#follow(stream, called);
    } catch (error) {
      this.#again(error);
    }
  }

  #request(): WatchRequest {
    const interval = Math.min(1_000, Math.max(100, this.near.maxStaleness / 4));
    return {
      namespace: this.namespace,
      selector: undefined,
      tokens: this.#tokens,
      heartbeatInterval: fromMilliseconds(interval),
    };
  }

  #follow(stream: ClientReadableStream<WatchResponse>, called: number): void {
    this.#stream = stream;
    if (this.#closed) {
      stream.cancel();
    }
    const timer = setTimeout(() => {
      stream.cancel();
    }, SILENCE);
    stream.on("data", (message: WatchResponse) => {
      timer.refresh();
      this.#handle(message, called);
    });
    let over = false;
    const end = (error?: Error) => {
      clearTimeout(timer);
      if (!over) {
        over = true;
        this.#again(error);
      }
    };
    stream.on("end", end);
    stream.on("error", end);
  }

  #handle(message: WatchResponse, called: number): void {
    switch (message.event?.$case) {
      case "change":
        this.near.changed(coversOf(message.event.value));
        this.#changeToken(message.event.value.token);
        break;
      case "discontinuity":
        this.near.discontinuity();
        break;
      case "heartbeat":
        this.#heartbeat(message.event.value, called);
        break;
    }
  }

  #heartbeat(heartbeat: WatchHeartbeat, called: number): void {
    this.#pause = SHORTEST_PAUSE;
    this.#tokens = [heartbeat.token];
    const { proofAge, elapsed } = heartbeat;
    const provenAt =
      proofAge === undefined || elapsed === undefined
        ? undefined
        : called + toMilliseconds(elapsed) - toMilliseconds(proofAge);
    this.near.heartbeat(heartbeat.token, provenAt);
  }

  /** Remembers the token of a change, or that of the last heartbeat alone if there are too many. */
  #changeToken(token: string): void {
    if (token === "" || this.#tokens.length === 0) {
      return;
    }
    if (this.#tokens.length < MAX_PRESENTED) {
      this.#tokens.push(token);
    } else {
      this.#tokens.length = 1;
    }
  }

  #again(error: unknown): void {
    if (this.#closed) {
      return;
    }
    if (error !== undefined) {
      this.failed(error instanceof Error && "code" in error ? fromServiceError(error as never) : error);
    }
    this.#timer = setTimeout(() => void this.#watch(), this.#pause * (0.5 + Math.random() / 2));
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
  }
}
