import { describe, expect, inject, it } from "vitest";
import { SetResponse } from "../src/generated/twintier/v1/cache.js";
import { SetOutcome } from "../src/generated/twintier/v1/values.js";
import { testCache, uniqueName } from "./support/caches.js";
import { fakeService, hit } from "./support/fake-service.js";

describe("sessions", () => {
  it("present the token of the last answer", async () => {
    const presented: string[][] = [];
    let number = 0;
    const address = await fakeService({
      get: ({ tokens }) => {
        presented.push(tokens);
        return { ...hit(1), token: `t${++number}` };
      },
      set: ({ tokens }) => {
        presented.push(tokens);
        return SetResponse.create({ outcome: SetOutcome.SET_OUTCOME_STORED, token: `t${++number}` });
      },
    });
    const cache = testCache({ addresses: [address] });
    const session = cache.session("from,elsewhere");
    await session.set("k", 1);
    await session.get("k");
    await session.getOrSet("k", () => 1);
    await cache.get("k");
    expect(presented).toEqual([["from", "elsewhere"], ["t1"], ["t2"], []]);
    expect(session.text).toBe("t3");
  });

  it("share one load as long as they have no tokens, and get its token", async () => {
    const cache = testCache();
    const sessions = Array.from({ length: 20 }, () => cache.session());
    let loads = 0;
    const values = await Promise.all(
      sessions.map((session) => session.getOrSet("k", () => ++loads)),
    );
    expect(new Set(values)).toEqual(new Set([1]));
    expect(loads).toBe(1);
    expect(cache.counters().shared).toBe(19);
    expect(sessions.every(({ text }) => text !== "")).toBe(true);
  });

  it("hold for the calls of the cache in withSession", async () => {
    const cache = testCache();
    const session = cache.session();
    await cache.withSession(session, async () => {
      await cache.set("k", 1);
    });
    const { text } = session;
    expect(text).not.toBe("");
    await cache.set("k", 2);
    expect(session.text).toBe(text);
  });

  it("read their own writes at another replica", async () => {
    const namespace = uniqueName();
    const [writer, reader] = inject("addresses").map((address) =>
      testCache({ namespace, addresses: [address] }),
    );
    await reader?.getOrSet("k", () => 0);
    for (let value = 1; value <= 20; value += 1) {
      const session = writer?.session();
      await session?.set("k", value);
      expect(await reader?.session(session?.text).get("k")).toBe(value);
    }
  });
});
