// The operations of the runner's protocol, by the library.
import { argumentKey, bytes, Cache, json, key, msgpack } from "@twintier/client";
import { decodeValue } from "../dist/esm/serializers.js";
import { countersOf, jsonOf, optionsOf, unsupported, valueOf } from "./values.js";

const SERIALIZERS = { json, msgpack, bytes };

/**
 * @typedef {Record<string, any>} Arguments
 * @typedef {import("@twintier/client").Session | Cache} Target
 */

export class Operations {
  /** @type {Map<string, Cache>} */
  #clients = new Map();
  /** @type {Map<string, import("@twintier/client").Session>} */
  #sessions = new Map();
  #loaders;

  /** @param {import("./loaders.js").Loaders} loaders */
  constructor(loaders) {
    this.#loaders = loaders;
  }

  /**
   * Carries out an operation, and returns its result.
   *
   * @param {string} op
   * @param {Arguments} args
   * @param {AbortSignal} signal
   * @returns {Promise<any>}
   */
  async carryOut(op, args, signal) {
    const operation = this.#plain(op) ?? this.#withTarget(op);
    if (operation === undefined) {
      throw Object.assign(new Error(`unknown operation: ${op}`), { name: "Unsupported" });
    }
    return operation(args, signal);
  }

  async close() {
    await Promise.all([...this.#clients.values()].map((client) => client.close({ drain: 0 })));
  }

  /**
   * @param {string} op
   * @returns {((args: Arguments) => unknown) | undefined}
   */
  #plain(op) {
    /** @type {Record<string, (args: Arguments) => unknown>} */
    const operations = {
      client: (args) => this.#client(args),
      close: ({ client, drain, ...others }) => {
        unsupported(others);
        return this.#clientOf(client).close(drain === undefined ? {} : { drain });
      },
      session: ({ client, session, text, ...others }) => {
        unsupported(others);
        this.#sessions.set(session, this.#clientOf(client).session(text));
        return {};
      },
      session_text: ({ session }) => ({ text: this.#sessionOf(session).text }),
      open: ({ gate }) => {
        this.#loaders.open(gate);
        return {};
      },
      loads: ({ loader }) => ({ ...this.#loaders.counts(loader) }),
      counters: ({ client }) => countersOf(this.#clientOf(client).counters()),
      key: ({ template, values }) => ({ key: key(template, values) }),
      argument_key: ({ prefix, arguments: args }) => ({ key: argumentKey(prefix, args) }),
      encode,
      decode,
    };
    return operations[op];
  }

  /**
   * @param {string} op
   * @returns {((args: Arguments, signal: AbortSignal) => unknown) | undefined}
   */
  #withTarget(op) {
    const operation = TARGETED[op];
    return (
      operation &&
      (({ client, session, loader, options, ...args }, signal) => {
        const target =
          session === undefined ? this.#clientOf(client) : this.#sessionOf(session);
        const load = loader === undefined ? undefined : this.#loaders.function(loader);
        return operation(target, args, { ...optionsOf(options), signal }, load);
      })
    );
  }

  /** @param {Arguments} args */
  #client({ client, addresses, options = {}, ...others }) {
    unsupported(others);
    const { ca_file, cert_file, key_file, near_cache, ...plain } = options;
    const secure = ca_file !== undefined || cert_file !== undefined;
    const tls = optionsOf({ ca_file, cert_file, key_file });
    const given = {
      addresses,
      ...optionsOf(plain),
      ...(secure ? { tls } : {}),
      ...(near_cache === undefined ? {} : { nearCache: optionsOf(near_cache) }),
    };
    this.#clients.set(client, new Cache(/** @type {any} */ (given)));
    return {};
  }

  /** @param {string} name */
  #clientOf(name) {
    const client = this.#clients.get(name);
    if (client === undefined) {
      throw new Error(`no client ${name}`);
    }
    return client;
  }

  /** @param {string} name */
  #sessionOf(name) {
    const session = this.#sessions.get(name);
    if (session === undefined) {
      throw new Error(`no session ${name}`);
    }
    return session;
  }
}

/** @type {Record<string, (target: any, args: Arguments, options: any, load: any) => unknown>} */
const TARGETED = {
  async get(target, { key, ...others }, options) {
    unsupported(others);
    const lookup = await target.lookup(key, options);
    if (lookup.found) {
      return { found: true, value: jsonOf(lookup.value), stale: lookup.stale };
    }
    return lookup.absent ? { absent: true } : { found: false };
  },
  async get_many(target, { keys, ...others }, options) {
    unsupported(others);
    return { values: jsonOf(Object.fromEntries(await target.getMany(keys, options))) };
  },
  async set(target, { key, value, ...others }, options) {
    unsupported(others);
    return { stored: await target.set(key, valueOf(value), options) };
  },
  async set_many(target, { values, ...others }, options) {
    unsupported(others);
    const entries = new Map(Object.entries(values).map(([name, each]) => [name, valueOf(each)]));
    return { stored: (await target.setMany(entries, options)).sort() };
  },
  async set_absent(target, { key, ...others }, options) {
    unsupported(others);
    return { stored: await target.setAbsent(key, options) };
  },
  async touch(target, { key, ttl, ...others }, options) {
    unsupported(others);
    return { touched: await target.touch(key, ttl, options) };
  },
  async invalidate(target, { keys, tags, prefix, pattern, all, ...others }, options) {
    unsupported(others);
    const selector = Object.entries({ keys, tags, prefix, pattern, all });
    const given = Object.fromEntries(selector.filter(([, value]) => value !== undefined));
    return { done: (await target.invalidate(given, options)).done };
  },
  async get_or_set(target, { key, ...others }, options, load) {
    unsupported(others);
    const value = await target.getOrSet(key, load, options);
    return value === undefined ? { absent: true } : { value: jsonOf(value) };
  },
  async get_or_set_many_callers(target, { key, callers, ...others }, options, load) {
    unsupported(others);
    const calls = Array.from({ length: callers }, () => target.getOrSet(key, load, options));
    const outcomes = await Promise.allSettled(calls);
    const values = outcomes.flatMap((outcome) =>
      outcome.status === "fulfilled" ? [JSON.stringify(jsonOf(outcome.value))] : [],
    );
    const distinct = [...new Set(values)].map((text) => JSON.parse(text));
    return { values: distinct, errors: callers - values.length };
  },
  set_later(target, { key, value, ...others }, { signal: _signal, ...options }) {
    unsupported(others);
    target.setLater(key, valueOf(value), options);
    return { queued: true };
  },
  invalidate_later(target, { keys, ...others }, { signal: _signal, ...options }) {
    unsupported(others);
    target.invalidateLater({ keys }, options);
    return { queued: true };
  },
};

/** @param {Arguments} args */
function encode({ serializer, value }) {
  const { contentType, encode } = serializerOf(serializer);
  const encoded = Buffer.from(encode(valueOf(value)));
  return { bytes: encoded.toString("base64"), content_type: contentType };
}

/** @param {Arguments} args */
function decode({ serializer, bytes: encoded, content_type: contentType }) {
  const content = Buffer.from(encoded, "base64");
  return { value: jsonOf(decodeValue(serializerOf(serializer), content, contentType)) };
}

/** @param {string} name */
function serializerOf(name) {
  return SERIALIZERS[/** @type {keyof typeof SERIALIZERS} */ (name)];
}
