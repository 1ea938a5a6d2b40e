import type { Duration as DurationMessage } from "./generated/google/protobuf/duration.js";
import { usage } from "./errors.js";

/** A duration: a number of milliseconds, or text as in the configuration, such as `"5m"`. */
export type Duration = number | string;

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const PART = /(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*/gy;
/** The longest duration of `google.protobuf.Duration`, about 10,000 years. */
const LONGEST = 315_576_000_000_000;

/** Returns the milliseconds of a duration. `field` names it in errors. */
export function milliseconds(field: string, duration: Duration): number {
  const result = typeof duration === "number" ? duration : parse(duration);
  if (!(result >= 0 && result <= LONGEST)) {
    throw usage(
      `${field} is ${JSON.stringify(duration)}; it must be milliseconds from 0 to ${LONGEST}, ` +
        `or text such as "250ms" or "5m"`,
    );
  }
  return result;
}

function parse(text: string): number {
  let total = 0;
  let end = 0;
  for (const part of text.trim().matchAll(PART)) {
    total += Number(part[1]) * (UNITS[part[2] ?? ""] ?? Number.NaN);
    end = part.index + part[0].length;
  }
  return end > 0 && end === text.trim().length ? total : Number.NaN;
}

/** Returns the message of a duration, or `undefined` for `undefined`. */
export function toMessage(
  field: string,
  duration: Duration | undefined,
): DurationMessage | undefined {
  if (duration === undefined) {
    return undefined;
  }
  return fromMilliseconds(milliseconds(field, duration));
}

/** Returns the message of a number of milliseconds. */
export function fromMilliseconds(total: number): DurationMessage {
  const seconds = Math.floor(total / 1_000);
  return { seconds: BigInt(seconds), nanos: Math.round((total - seconds * 1_000) * 1e6) };
}

/** Returns the milliseconds of a message. */
export function toMilliseconds(message: DurationMessage): number {
  return Number(message.seconds) * 1_000 + message.nanos / 1e6;
}
