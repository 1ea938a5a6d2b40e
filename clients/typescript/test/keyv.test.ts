import * as suite from "@keyv/test-suite";
import { createCache } from "cache-manager";
import { Keyv } from "keyv";
import * as vitest from "vitest";
import { inject } from "vitest";
import { KeyvTwintier } from "../src/keyv.js";
import { eventually, testCache, uniqueName } from "./support/caches.js";

const { describe, expect, it } = vitest;

describe("Keyv's own test suite", () => {
  const namespace = uniqueName();
  const store = () =>
    new KeyvTwintier({ addresses: inject("addresses").slice(0, 1), namespace, timeout: "20s" });
  suite.default(vitest, Keyv, store);
});

describe("KeyvTwintier", () => {
  it("gets, has and deletes many entries", async () => {
    const keyv = new Keyv({ store: new KeyvTwintier(testCache()), namespace: "n" });
    await keyv.setMany([
      { key: "a", value: 1 },
      { key: "b", value: 2, ttl: 60_000 },
    ]);
    expect(await keyv.getMany(["a", "missing", "b"])).toEqual([1, undefined, 2]);
    expect(await keyv.hasMany(["a", "missing", "b"])).toEqual([true, false, true]);
    expect(await keyv.deleteMany(["a", "b"])).toBe(true);
    expect(await keyv.has("a")).toBe(false);
  });

  it("lets entries expire in the service", async () => {
    const cache = testCache();
    const keyv = new Keyv({ store: new KeyvTwintier(cache), namespace: "n" });
    await keyv.set("k", "v", 50);
    await eventually("the entry is gone", async () => !(await cache.lookup("n:k")).found);
  });

  it("emits errors, and answers as if there were no entry", async () => {
    const errors: unknown[] = [];
    const cache = testCache({ addresses: ["127.0.0.1:1"], timeout: 200 });
    const keyv = new Keyv({ store: new KeyvTwintier(cache) });
    keyv.on("error", (error) => errors.push(error));
    expect(await keyv.get("k")).toBeUndefined();
    expect(await keyv.set("k", "v")).toBe(false);
    expect(errors).toHaveLength(1);
  });

  it("refuses to clear a namespace that is no segment", async () => {
    const store = new KeyvTwintier(testCache());
    store.namespace = "n:";
    await expect(store.clear()).rejects.toThrow("namespace");
  });
});

describe("cache-manager", () => {
  it("wraps functions, and sets and deletes many", async () => {
    const cache = createCache({
      stores: [new Keyv({ store: new KeyvTwintier(testCache()), namespace: "n" })],
    });
    let calls = 0;
    const load = () => Promise.resolve(++calls);
    expect(await cache.wrap("k", load, 60_000)).toBe(1);
    expect(await cache.wrap("k", load, 60_000)).toBe(1);
    await cache.mset([
      { key: "a", value: 1 },
      { key: "b", value: 2 },
    ]);
    expect(await cache.mget(["a", "b", "c"])).toEqual([1, 2, undefined]);
    await cache.mdel(["a", "b"]);
    expect(await cache.get("a")).toBeUndefined();
    await cache.clear();
    expect(await cache.get("k")).toBeUndefined();
  });
});
