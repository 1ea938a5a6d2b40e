import { describe, expect, it } from "vitest";
import { Breaker } from "../src/breaker.js";

describe("Breaker", () => {
  it("opens after three failures in a row", () => {
    const breaker = new Breaker();
    expect([breaker.failed(0), breaker.failed(0)]).toEqual([false, false]);
    breaker.succeeded();
    expect([breaker.failed(0), breaker.failed(0), breaker.failed(0)]).toEqual([false, false, true]);
    expect(breaker.admits(0)).toBe(false);
  });

  it("admits one probe a second while it is open", () => {
    const breaker = new Breaker();
    [1, 2, 3].forEach(() => breaker.failed(0));
    expect([999, 1_000, 1_001, 1_999, 2_000].map((now) => breaker.admits(now))).toEqual([
      false,
      true,
      false,
      false,
      true,
    ]);
  });

  it("closes with the first success", () => {
    const breaker = new Breaker();
    [1, 2, 3].forEach(() => breaker.failed(0));
    breaker.succeeded();
    expect(breaker.admits(0)).toBe(true);
  });
});
