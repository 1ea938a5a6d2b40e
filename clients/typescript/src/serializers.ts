import { isUtf8 } from "node:buffer";
import { decode, encode } from "@msgpack/msgpack";
import { TwintierError, usage } from "./errors.js";

/** A serializer of values. A value with another content type is unreadable, and so a miss. */
export interface Serializer {
  /** Content type that is stored with a value: at most 255 bytes of printable ASCII. */
  readonly contentType: string;
  /** Returns the bytes of a value. Throws if it has none. */
  encode(value: unknown): Uint8Array;
  /** Returns the value of bytes. Throws if they cannot be decoded. */
  decode(bytes: Uint8Array): unknown;
}

/** Name of a serializer of this library, or a serializer of your own. */
export type SerializerChoice = "json" | "msgpack" | "bytes" | Serializer;

/** Compact UTF-8 JSON. The default. */
export const json: Serializer = {
  contentType: "application/json",
  encode(value) {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined) {
      throw new TypeError(`a ${typeof value} has no JSON`);
    }
    return Buffer.from(text, "utf8");
  },
  decode(bytes): unknown {
    // Much faster than a TextDecoder that fails.
    if (!isUtf8(bytes)) {
      throw new TypeError("it is not UTF-8");
    }
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString());
  },
};

/** MessagePack. */
export const msgpack: Serializer = {
  contentType: "application/msgpack",
  encode: (value) => encode(value, { ignoreUndefined: true }),
  decode: (bytes) => decode(bytes),
};

/** Bytes as they are. */
export const bytes: Serializer = {
  contentType: "application/octet-stream",
  encode(value) {
    if (!(value instanceof Uint8Array)) {
      throw new TypeError("it is not a Uint8Array");
    }
    return value;
  },
  decode: (encoded) => encoded,
};

const NAMED: Readonly<Record<string, Serializer>> = { json, msgpack, bytes };

/** Returns the chosen serializer. */
export function serializerOf(choice: SerializerChoice): Serializer {
  const chosen = typeof choice === "string" ? NAMED[choice] : choice;
  if (typeof chosen?.encode !== "function" || typeof chosen.decode !== "function") {
    throw usage(
      `serializer is ${JSON.stringify(choice)}; ` +
        `it must be "json", "msgpack", "bytes" or a serializer`,
    );
  }
  return chosen;
}

/** Encodes a value, with an error of kind `usage` if it cannot. */
export function encodeValue(serializer: Serializer, value: unknown): Uint8Array {
  if (value === undefined) {
    throw usage("the value is undefined; use setAbsent to store that a thing does not exist");
  }
  try {
    return serializer.encode(value);
  } catch (error) {
    const message = `the value cannot be encoded as ${serializer.contentType}: ${textOf(error)}`;
    throw new TwintierError("usage", message, {}, error);
  }
}

/** Decodes a value, with an error of kind `unreadable` if it cannot. */
export function decodeValue(
  serializer: Serializer,
  encoded: Uint8Array,
  contentType: string,
): unknown {
  // Parameters, such as a charset, do not matter.
  if (contentType !== serializer.contentType && mediaType(contentType) !== serializer.contentType) {
    const message = `the content type is ${JSON.stringify(contentType)}, not ${serializer.contentType}`;
    throw new TwintierError("unreadable", message);
  }
  try {
    return serializer.decode(encoded);
  } catch (error) {
    throw new TwintierError("unreadable", `the value is unreadable: ${textOf(error)}`, {}, error);
  }
}

function mediaType(contentType: string): string {
  const [type = ""] = contentType.split(";");
  return type.trim().toLowerCase();
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
