import { describe, expect, it } from "vitest";
import { fromMilliseconds, milliseconds, toMilliseconds } from "../src/duration.js";

describe("milliseconds", () => {
  it.each([
    [250, 250],
    [0, 0],
    ["250ms", 250],
    ["2s", 2_000],
    ["1.5s", 1_500],
    ["5m", 300_000],
    ["1h 30m", 5_400_000],
    ["1h30m", 5_400_000],
    ["30d", 2_592_000_000],
  ])("reads %j", (duration, expected) => {
    expect(milliseconds("ttl", duration)).toBe(expected);
  });

  it.each([-1, Number.NaN, Infinity, "", "5", "5 parsecs", "m", "5m!", "-5m", "five minutes"])(
    "refuses %j, and names the field",
    (duration) => {
      expect(() => milliseconds("ttl", duration)).toThrow(/^ttl is .*; it must be/);
    },
  );
});

describe("messages", () => {
  it.each([0, 0.5, 1, 250, 1_000, 1_234.5, 2_592_000_000])("keep %d ms", (duration) => {
    expect(toMilliseconds(fromMilliseconds(duration))).toBeCloseTo(duration, 5);
  });
});
