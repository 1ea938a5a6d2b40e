// The runner of this library. clients/conformance/README.md defines its protocol.
import { createInterface } from "node:readline";
import { TwintierError } from "@twintier/client";
import { Loaders } from "./loaders.js";
import { Operations } from "./operations.js";

const loaders = new Loaders();
const operations = new Operations(loaders);

/** Operations in progress, by the ids of their requests. */
const running = new Map();

for await (const line of createInterface({ input: process.stdin })) {
  void answer(JSON.parse(line));
}
await operations.close();

/** @param {Record<string, any>} request */
async function answer({ id, op, ...args }) {
  const controller = new AbortController();
  running.set(id, controller);
  let reply;
  try {
    reply = { id, result: await carryOut(op, args, controller.signal) };
  } catch (error) {
    reply = { id, error: describe(error) };
  }
  running.delete(id);
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

/**
 * @param {string} op
 * @param {Record<string, any>} args
 * @param {AbortSignal} signal
 */
async function carryOut(op, args, signal) {
  if (op === "cancel") {
    running.get(args["call"])?.abort();
    return {};
  }
  return operations.carryOut(op, args, signal);
}

/** @param {unknown} error */
function describe(error) {
  if (error instanceof TwintierError) {
    return { kind: error.kind, message: error.message };
  }
  const { name, message } = /** @type {Error} */ (error);
  const kinds = new Map([
    ["LoaderError", "loader"],
    ["AbortError", "cancelled"],
    ["Unsupported", "unsupported"],
  ]);
  return { kind: kinds.get(name) ?? "internal", message };
}
