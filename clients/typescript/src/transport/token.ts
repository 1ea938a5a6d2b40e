import { readFile } from "node:fs/promises";
import { TwintierError } from "../errors.js";

/** Milliseconds after which the file is read anew. */
const REREAD_INTERVAL = 10_000;

/** The bearer token of calls. */
export interface TokenSource {
  /** Returns the token. With `renew`, reads it anew. */
  current(renew?: boolean): Promise<string>;
}

/** A token in a file, which may be replaced at any time. */
export class TokenFile implements TokenSource {
  #token: string | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<string> | undefined;

  constructor(readonly path: string) {}

  async current(renew = false): Promise<string> {
    const now = performance.now();
    if (this.#token !== undefined && !renew && now < this.#readAt + REREAD_INTERVAL) {
      return this.#token;
    }
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return await this.#reading;
  }

  async #read(): Promise<string> {
    try {
      this.#token = (await readFile(this.path, "utf8")).trim();
      this.#readAt = performance.now();
      return this.#token;
    } catch (error) {
      if (this.#token !== undefined) {
        // A file that is being replaced: the last token may still be valid.
        return this.#token;
      }
      const message = `tokenFile ${JSON.stringify(this.path)} cannot be read`;
      throw new TwintierError("unauthenticated", message, {}, error);
    }
  }
}

/** A token that does not change. */
export class FixedToken implements TokenSource {
  readonly #token: Promise<string>;

  constructor(token: string) {
    this.#token = Promise.resolve(token);
  }

  current(): Promise<string> {
    return this.#token;
  }
}
