import { usage } from "./errors.js";

/** Maximum number of tokens that a request presents (`limits.tokens` of the service). */
export const MAX_PRESENTED = 16;
/** Maximum number of calls of a session in flight. Each adds one token at most. */
const MAX_CALLS = 8;
/** Maximum number of shared calls that a session has joined. Each adds one token at most. */
const MAX_JOINED = MAX_PRESENTED - MAX_CALLS;
let sessions = 0;
const SEPARATOR = ",";
const TOKEN = /^[\x21-\x2b\x2d-\x7e]+$/;

/**
 * The tokens of a session.
 *
 * An answer's token replaces those that its call presented. The number of calls in flight is limited,
 * so there are never more tokens than a request may present.
 */
export class SessionTokens {
  #tokens: readonly string[];
  #inFlight = 0;
  #joined = 0;
  readonly #waiting: (() => void)[] = [];
  /** Number of the session in this process. */
  readonly id = ++sessions;

  constructor(text = "") {
    this.#tokens = parse(text);
  }

  /** The tokens as text. Equal texts are equal states of a session. */
  get text(): string {
    return this.#tokens.join(SEPARATOR);
  }

  /** The tokens now. The array does not change. */
  get current(): readonly string[] {
    return this.#tokens;
  }

  /** Carries out a call that presents the tokens, and notes the token of its answer. */
  async carry<R>(
    call: (tokens: readonly string[]) => Promise<R>,
    tokenOf: (answer: R) => string,
  ): Promise<R> {
    while (this.#inFlight >= MAX_CALLS) {
      await new Promise<void>((admit) => this.#waiting.push(admit));
    }
    this.#inFlight += 1;
    const presented = this.#tokens;
    try {
      const answer = await call(presented);
      this.observe(presented, tokenOf(answer));
      return answer;
    } finally {
      this.#inFlight -= 1;
      this.#waiting.shift()?.();
    }
  }

  /**
   * Joins a call that presents no tokens, and notes the token of its answer.
   *
   * Returns `undefined` if the session requires its tokens to be presented.
   */
  join<R>(call: () => Promise<R>, tokenOf: () => string): Promise<R> | undefined {
    if (this.#tokens.length > 0 || this.#joined >= MAX_JOINED) {
      return undefined;
    }
    this.#joined += 1;
    return call().finally(() => {
      this.#joined -= 1;
      this.observe([], tokenOf());
    });
  }

  /** Replaces the tokens that a call presented with that of its answer, which merges them. */
  observe(presented: readonly string[], answered: string): void {
    if (answered === "") {
      return;
    }
    const kept = this.#tokens.filter((token) => token !== answered && !presented.includes(token));
    this.#tokens = [...kept, answered].slice(-MAX_PRESENTED);
  }
}

function parse(text: string): readonly string[] {
  if (text === "") {
    return [];
  }
  const tokens = text.split(SEPARATOR);
  if (tokens.length > MAX_PRESENTED || !tokens.every((token) => TOKEN.test(token))) {
    throw usage(
      `the text of a session has ${tokens.length} parts; it must be at most ${MAX_PRESENTED} ` +
        `tokens in visible ASCII with commas between them`,
    );
  }
  return tokens;
}
