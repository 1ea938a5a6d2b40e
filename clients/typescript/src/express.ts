/**
 * Sessions for HTTP requests, for Express, Connect and other frameworks with the same middleware.
 *
 * @packageDocumentation
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import onHeaders from "on-headers";
import type { Cache } from "./cache.js";
import { TwintierError } from "./errors.js";
import type { Session } from "./session.js";

/** Header that carries a session between services. */
export const SESSION_HEADER = "Twintier-Session";
/** Maximum bytes of a session's text in a header. */
const MAX_HEADER = 8 * 1024;

/** Options of {@link sessions}. */
export interface SessionsOptions {
  /**
   * Returns the text of the request's session, or `undefined` for a new session. By default the
   * header `Twintier-Session`.
   */
  readonly read?: (request: IncomingMessage) => string | undefined;
  /**
   * Sends the text of the session with the response. By default in the header `Twintier-Session`.
   */
  readonly write?: (response: ServerResponse, text: string) => void;
}

/** A middleware. */
export type Middleware = (
  request: IncomingMessage,
  response: ServerResponse,
  next: (error?: unknown) => void,
) => void;

/**
 * Returns a middleware that makes each request a session of the cache.
 *
 * The calls of the cache in later handlers read what the request wrote, at any replica. The
 * response carries the session, so that the next request can continue it.
 */
export function sessions(cache: Cache, options: SessionsOptions = {}): Middleware {
  const { read = readHeader, write = writeHeader } = options;
  return (request, response, next) => {
    const session = sessionOf(cache, read(request));
    onHeaders(response, () => {
      const { text } = session;
      if (text !== "" && text.length <= MAX_HEADER) {
        write(response, text);
      }
    });
    cache.withSession(session, next);
  };
}

/** Continues a session. A text that is none begins a new one: a request cannot be refused for it. */
function sessionOf(cache: Cache, text: string | undefined): Session {
  try {
    return cache.session(text);
  } catch (error) {
    if (error instanceof TwintierError) {
      return cache.session();
    }
    throw error;
  }
}

function readHeader(request: IncomingMessage): string | undefined {
  const text = request.headers[SESSION_HEADER.toLowerCase()];
  return typeof text === "string" && text.length <= MAX_HEADER ? text : undefined;
}

function writeHeader(response: ServerResponse, text: string): void {
  response.setHeader(SESSION_HEADER, text);
}
