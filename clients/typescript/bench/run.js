// Measures the CPU of calls beside that of a bare stub: node bench/run.js [--check]
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { Cache } from "@twintier/client";
import { startService } from "../scripts/service.js";
import { CacheServiceService, GetRequest } from "../dist/esm/generated/twintier/v1/cache.js";

const { values: args } = parseArgs({
  options: {
    check: { type: "boolean", default: false },
    program: { type: "string", default: process.env["TWINTIER"] ?? "../../target/release/twintier" },
    rounds: { type: "string", default: "9" },
    calls: { type: "string", default: "2000" },
  },
});
const ROUNDS = Number(args.rounds);
const CALLS = Number(args.calls);
const IN_FLIGHT = 16;
/** A key for each call in flight: concurrent calls of getOrSet for one key would share a call. */
const KEYS = Array.from({ length: IN_FLIGHT }, (_, number) => `k${number}`);
const VALUE = { name: "Ada", mail: "ada@example.com", roles: ["admin", "user"] };

/** The bounds: CPU as a multiple of that of the bare stub. */
const BOUNDS = new Map([
  ["get", 1.3],
  ["getOrSet, hit", 1.5],
  ["get, near cache", 1 / 20], // 20 times cheaper
]);

const { address, stop } = await startService(args.program);
const stub = new Client(address, credentials.createInsecure());
const cache = new Cache({ addresses: address, timeout: "20s" });
const near = new Cache({
  addresses: address,
  timeout: "20s",
  nearCache: { maxBytes: 1_000_000, maxStaleness: "1h" },
});
try {
  await cache.setMany(Object.fromEntries(KEYS.map((key) => [key, VALUE])), { ttl: "1h" });
  await nearIsFilled();
  process.exitCode = report(await measure()) && args.check ? 1 : 0;
} finally {
  stub.close();
  await Promise.all([cache.close(), near.close()]);
  await stop();
}

/** Carries out the calls in rounds, and returns the CPU of a call in µs, for each kind and round. */
async function measure() {
  /** @type {[string, (key: string) => Promise<unknown>][]} */
  const kinds = [
    ["bare stub", bareGet],
    ["get", (key) => cache.get(key)],
    ["getOrSet, hit", (key) => cache.getOrSet(key, () => VALUE)],
    ["get, near cache", (key) => near.get(key)],
  ];
  /** @type {Map<string, number[]>} */
  const times = new Map(kinds.map(([name]) => [name, []]));
  for (let round = -1; round < ROUNDS; round += 1) {
    // Each round begins with another kind, so that none has the advantage of its place.
    const order = [...kinds.slice((round + 1) % 4), ...kinds.slice(0, (round + 1) % 4)];
    for (const [name, call] of order) {
      const time = await cpuOf(call);
      // The first round warms up.
      if (round >= 0) {
        times.get(name)?.push(time);
      }
    }
  }
  if (near.counters().nearHits < CALLS * ROUNDS) {
    throw new Error(`the near cache answered only ${near.counters().nearHits} reads`);
  }
  return times;
}

async function cpuOf(/** @type {(key: string) => Promise<unknown>} */ call) {
  let left = CALLS;
  const worker = async (/** @type {string} */ key) => {
    while (left > 0) {
      left -= 1;
      await call(key);
    }
  };
  const before = process.cpuUsage();
  await Promise.all(KEYS.map(worker));
  const { user, system } = process.cpuUsage(before);
  return (user + system) / CALLS;
}

function bareGet(/** @type {string} */ key) {
  const { path, requestSerialize, responseDeserialize } = CacheServiceService.get;
  const request = GetRequest.create({ key });
  const options = { deadline: Date.now() + 20_000 };
  return new Promise((resolve, reject) => {
    stub.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      new Metadata(),
      options,
      (error, response) => {
        if (error === null && response?.result?.$case === "hit") {
          resolve(JSON.parse(response.result.value.value.toString()));
        } else {
          reject(error ?? new Error("no hit"));
        }
      },
    );
  });
}

/** Prints the table. Returns whether a bound is exceeded. */
function report(/** @type {Map<string, number[]>} */ times) {
  const base = median(times.get("bare stub") ?? []);
  let exceeded = false;
  console.log("| call | CPU, µs | ratio | bound |\n|---|---|---|---|");
  for (const [name, all] of times) {
    const ratio = median(all) / base;
    const bound = BOUNDS.get(name);
    const beyond = bound !== undefined && ratio > bound;
    exceeded ||= beyond;
    const limit = bound === undefined ? "" : `${bound}${beyond ? " EXCEEDED" : ""}`;
    console.log(`| ${name} | ${median(all).toFixed(1)} | ${ratio.toFixed(3)} | ${limit} |`);
  }
  return exceeded;
}

function median(/** @type {number[]} */ numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

async function nearIsFilled() {
  const end = Date.now() + 30_000;
  for (let filled = 0; filled < KEYS.length; ) {
    if (Date.now() > end) {
      throw new Error("the near cache was not filled within 30 s");
    }
    const before = near.counters().nearHits;
    await Promise.all(KEYS.map((key) => near.get(key)));
    filled = near.counters().nearHits - before;
    await sleep(10);
  }
}
