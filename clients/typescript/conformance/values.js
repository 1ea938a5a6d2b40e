// Values, options and errors of the runner's protocol.

/** Fails if there are arguments that the runner does not know. */
export function unsupported(/** @type {object} */ others) {
  const [name] = Object.keys(others);
  if (name !== undefined) {
    throw Object.assign(new Error(`unknown: ${name}`), { name: "Unsupported" });
  }
}

/**
 * Returns a value of the protocol: bytes are in base64.
 *
 * @returns {any}
 */
export function valueOf(/** @type {any} */ json) {
  if (Array.isArray(json)) {
    return json.map(valueOf);
  }
  if (typeof json !== "object" || json === null) {
    return json;
  }
  if (typeof json.$bytes === "string") {
    return new Uint8Array(Buffer.from(json.$bytes, "base64"));
  }
  return Object.fromEntries(Object.entries(json).map(([name, value]) => [name, valueOf(value)]));
}

/**
 * Returns a value as the protocol writes it.
 *
 * @returns {any}
 */
export function jsonOf(/** @type {any} */ value) {
  if (value instanceof Uint8Array) {
    return { $bytes: Buffer.from(value).toString("base64") };
  }
  if (Array.isArray(value)) {
    return value.map(jsonOf);
  }
  if (typeof value !== "object" || value === null) {
    return value;
  }
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, jsonOf(member)]));
}

/** Returns options with the names of this library. */
export function optionsOf(/** @type {Record<string, any>} */ options = {}) {
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [
      name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()),
      value,
    ]),
  );
}

/** Returns counters with the names of the protocol. */
export function countersOf(/** @type {object} */ counters) {
  return Object.fromEntries(
    Object.entries(counters).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );
}
