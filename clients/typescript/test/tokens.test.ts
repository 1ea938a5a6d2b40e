import { describe, expect, it } from "vitest";
import { SessionTokens } from "../src/tokens.js";
import { gate } from "./support/caches.js";

describe("SessionTokens", () => {
  it("replaces the tokens that a call presented", async () => {
    const tokens = new SessionTokens("a,b");
    await tokens.carry(
      (presented) => Promise.resolve(presented.join("+")),
      (answer) => answer,
    );
    expect(tokens.text).toBe("a+b");
  });

  it("never holds more tokens than a request may present", async () => {
    const tokens = new SessionTokens();
    let presentedMost = 0;
    let number = 0;
    const call = async (presented: readonly string[]) => {
      presentedMost = Math.max(presentedMost, presented.length);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 3));
      return `t${++number}`;
    };
    const carried = Array.from({ length: 300 }, () => tokens.carry(call, (answer) => answer));
    const joined = Array.from({ length: 20 }, () =>
      tokens.join(() => call([]), () => `j${++number}`),
    );
    expect(joined.filter((each) => each !== undefined)).toHaveLength(8);
    await Promise.all([...carried, ...joined]);
    expect(presentedMost).toBeLessThanOrEqual(16);
    expect(tokens.current.length).toBeLessThanOrEqual(16);
    expect(number).toBe(300 + 2 * 8);
  });

  it("joins no shared call once it has tokens", () => {
    const tokens = new SessionTokens("a");
    expect(tokens.join(() => Promise.resolve(1), () => "")).toBeUndefined();
  });

  it("admits a waiting call when another one fails", async () => {
    const tokens = new SessionTokens();
    const failing = gate();
    const fail = async () => {
      await failing.opened;
      throw new Error("failed");
    };
    const failures = Array.from({ length: 8 }, () => tokens.carry(fail, () => ""));
    const waiting = tokens.carry(() => Promise.resolve("t"), (answer) => answer);
    failing.open();
    await Promise.allSettled(failures);
    await expect(waiting).resolves.toBe("t");
  });

  it.each([",", "a,", "a b", "a,,b", Array.from({ length: 17 }, () => "t").join()])(
    "refuses the text %j",
    (text) => {
      expect(() => new SessionTokens(text)).toThrow(/text of a session/);
    },
  );
});
