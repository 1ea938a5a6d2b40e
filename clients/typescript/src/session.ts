import type { Core } from "./core.js";
import { Operations } from "./operations.js";
import { SessionTokens } from "./tokens.js";

/**
 * A session: reads its own writes at any replica, and never goes back to an older state.
 *
 * Create it by {@link Cache.session}. It does not read from the near cache.
 */
export class Session extends Operations {
  readonly #tokens: SessionTokens;

  /** @internal */
  constructor(core: Core, text: string) {
    super(core);
    this.#tokens = new SessionTokens(text);
  }

  /** The state of the session as text, for {@link Cache.session} of any service. */
  get text(): string {
    return this.#tokens.text;
  }

  /** @internal */
  override tokens(): SessionTokens {
    return this.#tokens;
  }
}
