// Loaders and gates of scenarios.
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { unsupported, valueOf } from "./values.js";

class LoaderError extends Error {
  /** @override */
  name = "LoaderError";
}

/** The loaders of all scenarios, by name. */
export class Loaders {
  /** @type {Map<string, { started: number, ended: number }>} */
  #counts = new Map();
  /** @type {Map<string, { opened: Promise<unknown>, open: () => void }>} */
  #gates = new Map();

  /** @param {string} name */
  counts(name) {
    const counts = this.#counts.get(name) ?? { started: 0, ended: 0 };
    this.#counts.set(name, counts);
    return counts;
  }

  /** @param {string} name */
  open(name) {
    this.#gate(name).open();
  }

  /** @param {Record<string, any>} loader */
  function({ name, value, absent, error, gate, delay, ...others }) {
    unsupported(others);
    return async () => {
      const counts = this.counts(name);
      counts.started += 1;
      try {
        await (gate === undefined ? undefined : this.#gate(gate).opened);
        await (delay === undefined ? undefined : setTimeout(Number.parseInt(delay)));
        if (error !== undefined) {
          throw new LoaderError(error);
        }
        return absent === true ? undefined : valueOf(value);
      } finally {
        counts.ended += 1;
      }
    };
  }

  /** @param {string} name */
  #gate(name) {
    let gate = this.#gates.get(name);
    if (gate === undefined) {
      const controller = new AbortController();
      const opened = once(controller.signal, "abort");
      gate = { opened, open: () => controller.abort() };
      this.#gates.set(name, gate);
    }
    return gate;
  }
}
