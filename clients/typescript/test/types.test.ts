import { describe, expectTypeOf, it } from "vitest";
import type { Cache, CachedFunction, Counters, Invalidated, Lookup } from "../src/index.js";

/** Checked by tsc: the calls are never made. */
function types(cache: Cache) {
  const user = { id: 1, name: "Ada" };
  type User = typeof user;
  expectTypeOf(cache.get<User>("k")).toEqualTypeOf<Promise<User | undefined>>();
  expectTypeOf(cache.get("k")).toEqualTypeOf<Promise<unknown>>();
  expectTypeOf(cache.lookup<User>("k")).toEqualTypeOf<Promise<Lookup<User>>>();
  expectTypeOf(cache.getMany<User>(["k"])).toEqualTypeOf<Promise<Map<string, User>>>();
  expectTypeOf(cache.getOrSet("k", () => user)).toEqualTypeOf<Promise<User | undefined>>();
  const later = cache.getOrSet("k", ({ signal, key }) => Promise.resolve([key, signal.aborted]));
  expectTypeOf(later).toEqualTypeOf<Promise<(string | boolean)[] | undefined>>();
  const find = cache.cached((id: number) => (id > 0 ? user : undefined), { key: "user:{id}" });
  expectTypeOf(find).toEqualTypeOf<CachedFunction<[id: number], User | undefined>>();
  expectTypeOf(find.key).parameters.toEqualTypeOf<[id: number]>();
  expectTypeOf(cache.invalidate({ all: true })).toEqualTypeOf<Promise<Invalidated>>();
  expectTypeOf(cache.counters()).toEqualTypeOf<Counters>();
  // @ts-expect-error -- a duration is a number or a text
  void cache.set("k", 1, { ttl: { minutes: 5 } });
  // @ts-expect-error -- an unknown option
  void cache.get("k", { ttl: "5m" });
  // @ts-expect-error -- `all` is true or missing
  void cache.invalidate({ all: false });
  // @ts-expect-error -- a loader is required
  void cache.getOrSet("k");
}

describe("types", () => {
  it("infer the results of calls", () => {
    expectTypeOf(types).toBeFunction();
  });
});
