// Caches for tests: each in a namespace of its own, closed after the test.
import { randomUUID } from "node:crypto";
import { inject, onTestFinished } from "vitest";
import { Cache, type CacheOptions } from "../../src/index.js";

/** Returns a name that no other test uses. */
export function uniqueName(): string {
  return `t-${randomUUID()}`;
}

/** Returns a cache that answers also on a busy machine. */
export function testCache(options: Partial<CacheOptions> = {}): Cache {
  const cache = new Cache({
    addresses: inject("addresses").slice(0, 1),
    namespace: uniqueName(),
    timeout: "20s",
    ...options,
  });
  onTestFinished(async () => {
    await cache.close({ drain: 0 });
  });
  return cache;
}

/** Waits until a condition holds, for 30 s at most. */
export async function eventually(
  about: string,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > end) {
      throw new Error(`not within 30 s: ${about}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A promise that the test settles. */
export interface Gate<T> {
  readonly opened: Promise<T>;
  readonly open: (value: T) => void;
}

/** Returns a gate. */
export function gate<T = void>(): Gate<T> {
  let open: (value: T) => void = () => undefined;
  const opened = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
