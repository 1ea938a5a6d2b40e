import { describe, expect, inject, it } from "vitest";
import { Cache, TwintierError, type Serializer } from "../src/index.js";
import { eventually, gate, testCache, uniqueName } from "./support/caches.js";
import { fakeService, hit } from "./support/fake-service.js";

describe("Cache", () => {
  it("stores and reads values of many kinds", async () => {
    const cache = testCache();
    for (const value of [null, 0, "", false, "text", [1, "😀"], { a: { b: [null] } }]) {
      expect(await cache.set("k", value)).toBe(true);
      expect(await cache.get("k")).toEqual(value);
    }
  });

  it("takes and returns maps of many entries", async () => {
    const cache = testCache();
    const values = new Map(Array.from({ length: 2_500 }, (_, n) => [`k${n}`, n]));
    expect(await cache.setMany(values, { ttl: "5m" })).toHaveLength(2_500);
    expect(await cache.setMany({ __proto__x: 1, plain: 2 })).toEqual(["__proto__x", "plain"]);
    expect(await cache.getMany([...values.keys(), "missing"])).toEqual(values);
    const { done, removed } = await cache.invalidate({ keys: [...values.keys()] });
    expect({ done, removed }).toEqual({ done: true, removed: 2_500 });
  });

  it("splits large batches by their bytes", async () => {
    const cache = testCache({ serializer: "bytes" });
    const large = new Uint8Array(900_000).fill(7);
    const values = Object.fromEntries(Array.from({ length: 6 }, (_, n) => [`k${n}`, large]));
    expect(await cache.setMany(values)).toHaveLength(6);
    const read = await cache.getMany<Uint8Array>(Object.keys(values));
    expect([...read.values()].map((value) => value.length)).toEqual(Array(6).fill(900_000));
  });

  it("uses a serializer of the caller", async () => {
    const reversed: Serializer = {
      contentType: "text/x-reversed",
      encode: (value) => Buffer.from(String(value)).reverse(),
      decode: (encoded) => Buffer.from(encoded).reverse().toString(),
    };
    const namespace = uniqueName();
    const cache = testCache({ namespace, serializer: reversed });
    await cache.set("k", "abc");
    expect(await cache.get("k")).toBe("abc");
    const other = testCache({ namespace });
    expect(await other.get("k")).toBeUndefined();
    expect(other.counters()).toMatchObject({ unreadable: 1, misses: 1 });
  });

  it("returns the loaded value when the serializer cannot write it", async () => {
    const cache = testCache();
    expect(await cache.getOrSet("k", () => 7n)).toBe(7n);
    expect(cache.counters()).toMatchObject({ loads: 1, notStored: 1 });
    await expect(cache.set("k", 7n)).rejects.toMatchObject({ kind: "usage" });
    expect(await cache.getOrSet("k", () => 8, { leaseDuration: "5m" })).toBe(8);
    expect(await cache.get("k")).toBe(8);
  });

  it.each<[string, object]>([
    ["addresses", { addresses: [] }],
    ["addresses", { addresses: ["a b:1"] }],
    ["timeout", { timeout: 0 }],
    ["timeout", { timeout: "soon" }],
    ["serializer", { serializer: "xml" }],
    ["laterQueue", { laterQueue: 0 }],
    ["nearCache.maxBytes", { nearCache: { maxBytes: -1 } }],
    ["adresses", { adresses: ["localhost:1"] }],
    ["tls.certFile", { tls: { certFile: "cert.pem" } }],
    ["tls.caFile", { tls: { caFile: "/no/such/file" } }],
    ["token", { token: "a", tokenFile: "b" }],
  ])("refuses a wrong %s, and names it", (field, options) => {
    const wrong = { addresses: "localhost:1", ...options };
    expect(() => new Cache(wrong)).toThrow(field);
  });

  it.each<[string, (cache: Cache) => Promise<unknown>]>([
    ["key", (cache) => cache.get("")],
    ["ttl", (cache) => cache.set("k", 1, { ttl: "later" })],
    ["ttl", (cache) => cache.getOrSet("k", () => 1, { ttl: "" })],
    ["jitter", (cache) => cache.set("k", 1, { jitter: 0.6 })],
    ["sourceVersion", (cache) => cache.set("k", 1, { sourceVersion: -1 })],
    ["consistency", (cache) => cache.get("k", { consistency: "any" as never })],
    ["keys and tags", (cache) => cache.invalidate({ keys: "k", tags: "t" })],
    ["no selector", (cache) => cache.invalidate({})],
    ["value is undefined", (cache) => cache.set("k", undefined)],
    ["softTTL", (cache) => cache.set("k", 1, { softTTL: 1 } as never)],
  ])("rejects a wrong %s, and names it", async (field, call) => {
    const failure = call(testCache());
    await expect(failure).rejects.toBeInstanceOf(TwintierError);
    await expect(failure).rejects.toMatchObject({ kind: "usage" });
    await expect(failure).rejects.toThrow(field);
  });

  it("rejects with the reason of an aborted signal", async () => {
    const cache = testCache();
    const reason = new Error("the user has left");
    const signal = AbortSignal.abort(reason);
    await expect(cache.get("k", { signal })).rejects.toBe(reason);
    await expect(cache.getOrSet("k", () => 1, { signal })).rejects.toBe(reason);
    expect(cache.counters()).toMatchObject({ failures: 0 });
  });

  it("aborts the loader's signal when the last caller leaves", async () => {
    const cache = testCache();
    const started = gate<AbortSignal>();
    const callers = [new AbortController(), new AbortController()];
    const calls = callers.map(({ signal }) =>
      cache.getOrSet(
        "k",
        (context) => {
          started.open(context.signal);
          return new Promise<number>(() => undefined);
        },
        { signal, leaseDuration: "5m" },
      ),
    );
    const settled = Promise.allSettled(calls);
    const loaderSignal = await started.opened;
    callers[0]?.abort();
    expect(loaderSignal.aborted).toBe(false);
    callers[1]?.abort();
    expect(loaderSignal.aborted).toBe(true);
    await settled;
    expect(await cache.getOrSet("k", () => 2)).toBe(2);
  });

  it("does not share a load that began before an own invalidation", async () => {
    const cache = testCache();
    const old = gate<string>();
    const first = cache.getOrSet("k", () => old.opened);
    await eventually("the loader runs", () => cache.counters().misses === 1);
    await cache.invalidate({ prefix: "k" });
    expect(await cache.getOrSet("k", () => "new")).toBe("new");
    old.open("old");
    expect(await first).toBe("old");
    expect(await cache.get("k")).toBe("new");
  });

  it("tells absent from a miss", async () => {
    const cache = testCache();
    expect(await cache.lookup("k")).toEqual({ found: false, absent: false });
    expect(await cache.setAbsent("k", { negativeTtl: "1m" })).toBe(true);
    expect(await cache.lookup("k")).toEqual({ found: false, absent: true });
    expect(await cache.getOrSet("k", (): number => expect.fail("it is cached"))).toBeUndefined();
  });

  it("answers as if the service were away after close", async () => {
    const cache = testCache();
    cache.setLater("k", 1);
    expect(await cache.close()).toEqual({ drained: true });
    expect(await cache.get("k")).toBeUndefined();
    expect(await cache.getOrSet("k", () => 2)).toBe(2);
    expect(() => {
      cache.setLater("k", 1);
    }).toThrow("closed");
  });
});

describe("errors", () => {
  it("carry reason, metadata and retry delay of the service", async () => {
    const cache = testCache({ strict: true });
    const failure = cache.set("k".repeat(2_000), 1);
    await expect(failure).rejects.toMatchObject({
      kind: "rejected",
      details: { code: 3, reason: "INVALID_REQUEST" },
    });
  });

  it("are hidden unless strict, and reported to the hook", async () => {
    const errors: unknown[] = [];
    const hooks = { onFailure: ({ error }: { error: unknown }) => errors.push(error) };
    const cache = testCache({ addresses: ["127.0.0.1:1"], timeout: 200, hooks });
    expect(await cache.get("k")).toBeUndefined();
    expect(await cache.set("k", 1)).toBe(false);
    expect(await cache.invalidate({ keys: "k" })).toEqual({ done: false, removed: undefined });
    expect(errors).toHaveLength(3);
    await expect(cache.get("k", { strict: true })).rejects.toBeInstanceOf(TwintierError);
  });
});

describe("several addresses", () => {
  it("spread the calls", async () => {
    const calls = [0, 0];
    const count = (index: 0 | 1) => () => {
      calls[index] = (calls[index] ?? 0) + 1;
      return hit(1);
    };
    const addresses = [await fakeService({ get: count(0) }), await fakeService({ get: count(1) })];
    const cache = testCache({ addresses });
    await eventually("both have calls", async () => {
      await cache.get("k");
      return calls.every((number) => number >= 5);
    });
  });

  it("work when one name cannot be resolved", async () => {
    const [address = ""] = inject("addresses");
    const cache = testCache({ addresses: ["no-such-host.invalid:50051", address] });
    await eventually("a write is stored", () => cache.set("k", 1));
    expect(await cache.get("k")).toBe(1);
  });
});
