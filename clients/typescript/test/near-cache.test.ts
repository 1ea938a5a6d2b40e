import { describe, expect, it } from "vitest";
import { matcher, type Covers } from "../src/near/covers.js";
import { NearCache } from "../src/near/near-cache.js";

const ENTRY = { value: Buffer.from("v"), contentType: "", endsAt: Infinity };

/** Returns a cache whose last heartbeat proved that it is up to date. */
function proven(maxBytes = 100_000): NearCache {
  const near = new NearCache(maxBytes, 60_000);
  near.heartbeat("token", performance.now());
  return near;
}

function fill(near: NearCache, key: string): void {
  const ticket = near.begin(key);
  if (ticket !== undefined) {
    near.end(ticket, ENTRY);
  }
}

describe("NearCache", () => {
  it("keeps nothing before the first heartbeat", () => {
    const near = new NearCache(100_000, 60_000);
    expect(near.begin("k")).toBeUndefined();
  });

  it("answers a proven entry", () => {
    const near = proven();
    fill(near, "k");
    expect(near.get("k")).toBe(ENTRY);
  });

  it("does not answer when heartbeats are late", () => {
    const near = proven();
    fill(near, "k");
    near.heartbeat("token", performance.now() - 60_001);
    expect(near.get("k")).toBeUndefined();
    near.heartbeat("token", undefined);
    expect(near.get("k")).toBeUndefined();
    near.heartbeat("token", performance.now());
    expect(near.get("k")).toBe(ENTRY);
  });

  it("does not answer a caller that accepts less staleness", () => {
    const near = proven();
    fill(near, "k");
    near.heartbeat("token", performance.now() - 30_000);
    expect(near.get("k", 20_000)).toBeUndefined();
    expect(near.get("k", 40_000)).toBe(ENTRY);
  });

  it("does not answer an entry that has ended", () => {
    const near = proven();
    const ticket = near.begin("k");
    near.end(ticket ?? expect.fail(), { ...ENTRY, endsAt: performance.now() });
    expect(near.get("k")).toBeUndefined();
  });

  it.each<Covers>([{ keys: ["k"] }, { prefix: "k" }, { pattern: "*" }, { all: true }])(
    "drops what %j covers, and does not keep reads that began before",
    (covers) => {
      const near = proven();
      fill(near, "k");
      const ticket = near.begin("k");
      near.changed(covers);
      expect(near.get("k")).toBeUndefined();
      near.heartbeat("later", performance.now());
      near.end(ticket ?? expect.fail(), ENTRY);
      expect(near.get("k")).toBeUndefined();
    },
  );

  it("keeps no read that begins between a change and the next heartbeat", () => {
    const near = proven();
    near.changed({ keys: ["k"] });
    expect(near.begin("k")).toBeUndefined();
    expect(near.begin("other")).toBeDefined();
    near.heartbeat("later", performance.now());
    expect(near.begin("k")?.token).toBe("later");
  });

  it("drops everything at a discontinuity", () => {
    const near = proven();
    fill(near, "k");
    near.discontinuity();
    near.heartbeat("later", performance.now());
    expect(near.get("k")).toBeUndefined();
  });

  it("stays within its bytes", () => {
    const near = proven(10_000);
    for (let number = 0; number < 1_000; number += 1) {
      fill(near, `k${number}`);
    }
    expect(near.bytes).toBeLessThanOrEqual(10_000);
    expect(near.get("k999")).toBe(ENTRY);
    expect(near.get("k0")).toBeUndefined();
  });
});

describe("matcher", () => {
  it.each<[Covers, string, boolean]>([
    [{ keys: ["a", "b"] }, "b", true],
    [{ keys: ["a", "b"] }, "c", false],
    [{ prefix: "user:42" }, "user:42", true],
    [{ prefix: "user:42" }, "user:42:name", true],
    [{ prefix: "user:42:" }, "user:42/name", true],
    [{ prefix: "user:42" }, "user:421", false],
    [{ pattern: "user:*:name" }, "user:42:name", true],
    [{ pattern: "user:*:name" }, "user:42:names", false],
    [{ pattern: "user:?" }, "user:😀", true],
    [{ pattern: "user:?" }, "user:42", false],
    [{ pattern: "a\\*b" }, "a*b", true],
    [{ pattern: "a\\*b" }, "axb", false],
    [{ pattern: "a.b[c]+(d)|^$-/" }, "a.b[c]+(d)|^$-/", true],
    [{ pattern: "a.b" }, "axb", false],
    [{ pattern: "*" }, "line\nbreak", true],
    [{ all: true }, "anything", true],
  ])("%j of %j is %j", (covers, key, expected) => {
    expect(matcher(covers)(key)).toBe(expected);
  });
});
