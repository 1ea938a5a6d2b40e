import { milliseconds } from "./duration.js";
import { usage } from "./errors.js";
import { checkCallOptions, type CallOptions } from "./options.js";
import type { Context } from "./service.js";
import type { SessionTokens } from "./tokens.js";

/** Settings that a call takes from its cache. */
export interface Defaults {
  readonly namespace: string;
  readonly timeout: number;
  readonly strict: boolean;
}

/** The longest deadline: setTimeout takes no longer time. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

/** Returns a time to wait that timers accept. */
export function timeoutOf(field: string, duration: number | string): number {
  const result = milliseconds(field, duration);
  if (result < 1 || result > LONGEST_TIMEOUT) {
    throw usage(`${field} is ${duration}; it must be from 1 ms to ${LONGEST_TIMEOUT} ms`);
  }
  return result;
}

/** Returns the settings of a call. */
export function contextOf(
  defaults: Defaults,
  options: CallOptions,
  tokens: SessionTokens | undefined,
): Context {
  checkCallOptions(options);
  return {
    namespace: options.namespace ?? defaults.namespace,
    timeout:
      options.timeout === undefined ? defaults.timeout : timeoutOf("timeout", options.timeout),
    strict: options.strict ?? defaults.strict,
    signal: options.signal,
    tokens,
    near: tokens === undefined,
  };
}

/** Fails if a key is not a text. The service checks its length. */
export function checkKey(key: string): void {
  if (typeof key !== "string" || key === "") {
    throw usage(`key is ${JSON.stringify(key)}; it must be a text that is not empty`);
  }
}
