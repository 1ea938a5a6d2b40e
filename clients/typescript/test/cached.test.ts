import { describe, expect, it } from "vitest";
import { argumentKey } from "../src/index.js";
import { testCache } from "./support/caches.js";

interface User {
  id: number;
  name: string;
}

describe("cached", () => {
  it("calls the function once for equal arguments", async () => {
    const calls: number[] = [];
    const getUser = testCache().cached(
      (id: number): User => {
        calls.push(id);
        return { id, name: `user ${id}` };
      },
      { key: "user:{id}", ttl: "5m" },
    );
    expect(await getUser(1)).toEqual({ id: 1, name: "user 1" });
    expect(await getUser(1)).toEqual({ id: 1, name: "user 1" });
    expect(await getUser(2)).toEqual({ id: 2, name: "user 2" });
    expect(calls).toEqual([1, 2]);
  });

  it("has the keys of templates, functions and prefixes", () => {
    const cache = testCache();
    const order = (tenant: string, id: number) => `${tenant} ${id}`;
    const byName = cache.cached(order, { key: "{tenant}:order:{id}" });
    expect(byName.key("a:b", 7)).toBe("a%3Ab:order:7");
    const byFunction = cache.cached(order, { key: (tenant, id) => `${tenant}-${id}` });
    expect(byFunction.key("a", 7)).toBe("a-7");
    const byHash = cache.cached(order, { prefix: "order" });
    expect(byHash.key("a", 7)).toBe(argumentKey("order", ["a", 7]));
    const byField = cache.cached(({ id }: User) => id, { key: "user:{id}" });
    expect(byField.key({ id: 7, name: "Ada" })).toBe("user:7");
  });

  it("refreshes, invalidates, and calls without the cache", async () => {
    let number = 0;
    const next = testCache().cached((_id: string) => ++number, { key: "n:{id}" });
    expect(await next("a")).toBe(1);
    expect(await next.uncached("a")).toBe(2);
    expect(await next("a")).toBe(1);
    expect(await next.refresh("a")).toBe(3);
    expect(await next("a")).toBe(3);
    expect((await next.invalidate("a")).done).toBe(true);
    expect(await next("a")).toBe(4);
  });

  it("tags entries by arguments", async () => {
    const cache = testCache();
    let loads = 0;
    const load = cache.cached((_user: number, _page: number) => ++loads, {
      key: "orders:{user}:{page}",
      tags: ["user:{user}"],
    });
    await load(1, 1);
    await load(2, 1);
    await cache.invalidate({ tags: "user:1" });
    expect([await load(1, 1), await load(2, 1)]).toEqual([3, 2]);
  });

  it("stores that a thing does not exist", async () => {
    const cache = testCache();
    const find = cache.cached((_id: number): User | undefined => undefined, { key: "user:{id}" });
    expect(await find(1)).toBeUndefined();
    expect(await cache.lookup("user:1")).toEqual({ found: false, absent: true });
    expect(await find.refresh(1)).toBeUndefined();
  });

  it("fails with the function's own error", async () => {
    const error = new RangeError("no such user");
    const find = testCache().cached(
      (_id: number) => {
        throw error;
      },
      { key: "user:{id}" },
    );
    await expect(find(1)).rejects.toBe(error);
  });

  it("refuses wrong options when it is made, and wrong arguments when it is called", () => {
    const cache = testCache();
    const noop = (..._args: unknown[]) => 1;
    expect(() => cache.cached(noop, {})).toThrow("exactly one of key and prefix");
    expect(() => cache.cached(noop, { key: "a", prefix: "b" })).toThrow("exactly one");
    expect(() => cache.cached(noop, { key: "user:{id" })).toThrow("template");
    expect(() => cache.cached(noop, { key: "user:{id}", tags: ["{other}"] })).toThrow("other");
    const cached = cache.cached(noop, { key: "user:{id}" });
    expect(() => cached.key(1, 2)).toThrow("2 arguments");
    expect(() => cached.key({ name: "Ada" })).toThrow('the value "id"');
    expect(() => cached.key(1.5)).toThrow("integer");
    const hashed = cache.cached(noop, { prefix: "f" });
    expect(() => hashed.key(new Map())).toThrow("the arguments[0] has an object of a class");
    expect(() => hashed.key({ a: [() => 1] })).toThrow("the arguments[0].a[0] has a function");
  });
});
