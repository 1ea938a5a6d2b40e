import { describe, expect, it } from "vitest";
import { LaterQueue, type LaterWrite } from "../src/later.js";
import { gate } from "./support/caches.js";

/** A queue whose writes wait for the gate. */
function queue(capacity: number) {
  const sent: string[][] = [];
  const counts = { dropped: 0 };
  const opened = gate();
  const later = new LaterQueue<LaterWrite>(
    capacity,
    async (batch) => {
      await opened.opened;
      sent.push(batch.map(({ key }) => key));
      return 0;
    },
    () => {
      counts.dropped += 1;
    },
  );
  return { later, sent, counts, open: opened.open };
}

function write(key: string, group = "g"): LaterWrite {
  return { key, group };
}

describe("LaterQueue", () => {
  it("drops the oldest write when it is full", async () => {
    const { later, sent, counts, open } = queue(2);
    ["first", "a", "b", "c"].forEach((key) => {
      later.push(write(key));
    });
    expect(counts.dropped).toBe(1);
    open();
    expect(await later.drain(60_000)).toBe(true);
    expect(sent).toEqual([["first"], ["b", "c"]]);
  });

  it("keeps the order, and sends together what may be sent together", async () => {
    const { later, sent, open } = queue(100);
    later.push(write("first"));
    [write("a"), write("b"), write("a")].forEach((each) => {
      later.push(each);
    });
    later.push({ key: "c", group: undefined });
    [write("d", "h"), write("e")].forEach((each) => {
      later.push(each);
    });
    open();
    expect(await later.drain(60_000)).toBe(true);
    expect(sent).toEqual([["first"], ["a", "b"], ["a"], ["c"], ["d"], ["e"]]);
  });

  it("says that writes were lost when the time to drain is over", async () => {
    const { later, counts, open } = queue(10);
    later.push(write("first"));
    later.push(write("waiting"));
    expect(await later.drain(0)).toBe(false);
    expect(counts.dropped).toBe(1);
    open();
  });

  it("says that writes were lost when sending failed", async () => {
    const later = new LaterQueue<LaterWrite>(
      10,
      (batch) => Promise.resolve(batch.length),
      () => undefined,
    );
    later.push(write("a"));
    expect(await later.drain(60_000)).toBe(false);
  });
});
