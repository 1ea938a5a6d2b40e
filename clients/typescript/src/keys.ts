import { createHash } from "node:crypto";
import { usage } from "./errors.js";

/** A value of a template: its text makes one segment of a key. */
export type KeyValue = string | number | bigint | boolean;

const PART = /\{\{|\}\}|\{([^{}]*)\}|[{}]/g;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** Bytes of ASCII that are not written as they are. */
// eslint-disable-next-line no-control-regex -- the control characters are what is escaped
const ESCAPED = /[\u0000-\u007f]/g;
const PLAIN = /[A-Za-z0-9._~-]/;

type Part = { readonly text: string } | { readonly name: string };

/** A template of keys, such as `user:{user_id}:orders`. */
export class KeyTemplate {
  readonly #parts: readonly Part[];
  /** Names in the template. */
  readonly names: ReadonlySet<string>;

  constructor(readonly template: string) {
    this.#parts = parse(template);
    this.names = new Set(this.#parts.flatMap((part) => ("name" in part ? [part.name] : [])));
  }

  /** Returns the key for these values. */
  key(values: Readonly<Record<string, KeyValue>>): string {
    for (const name of Object.keys(values)) {
      if (!this.names.has(name)) {
        throw usage(`the value ${quoted(name)} is not in the template ${quoted(this.template)}`);
      }
    }
    return this.fill((name) => (Object.hasOwn(values, name) ? values[name] : undefined));
  }

  /** Returns the key for the values that `value` returns. Extra values are allowed. */
  fill(value: (name: string) => unknown): string {
    return this.#parts
      .map((part) => ("text" in part ? part.text : segment(this.template, part.name, value)))
      .join("");
  }
}

/**
 * Returns the key of a template: `key("user:{id}:orders", { id: 7 })` is `"user:7:orders"`.
 *
 * Values are escaped, so that no value can make another key.
 */
export function key(template: string, values: Readonly<Record<string, KeyValue>>): string {
  return new KeyTemplate(template).key(values);
}

function parse(template: string): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const match of template.matchAll(PART)) {
    if (match.index > end) {
      parts.push({ text: template.slice(end, match.index) });
    }
    end = match.index + match[0].length;
    parts.push(partOf(template, match[0], match[1]));
  }
  if (end < template.length) {
    parts.push({ text: template.slice(end) });
  }
  if (parts.length === 0) {
    throw usage("the template of a key is empty");
  }
  return parts;
}

function partOf(template: string, matched: string, name: string | undefined): Part {
  if (matched === "{{" || matched === "}}") {
    return { text: matched.slice(1) };
  }
  if (name === undefined || !NAME.test(name)) {
    throw usage(
      `the template ${quoted(template)} has ${quoted(matched)}; a name in braces is of letters, ` +
        `digits and _, and {{ stands for a brace`,
    );
  }
  return { name };
}

function segment(template: string, name: string, value: (name: string) => unknown): string {
  const text = textOf(value(name));
  if (text === undefined) {
    throw usage(
      `the value ${quoted(name)} of the template ${quoted(template)} must be a text that is not ` +
        `empty, an integer or a boolean`,
    );
  }
  return text.replace(ESCAPED, escape);
}

function textOf(value: unknown): string | undefined {
  switch (typeof value) {
    case "string":
      return value.length > 0 && value.isWellFormed() ? value : undefined;
    case "number":
      return Number.isSafeInteger(value) ? (value === 0 ? "0" : value.toString()) : undefined;
    case "bigint":
    case "boolean":
      return value.toString();
    default:
      return undefined;
  }
}

function escape(character: string): string {
  if (PLAIN.test(character)) {
    return character;
  }
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}

/**
 * Returns the key of arguments: `prefix:` and 32 hex digits of their canonical JSON (RFC 8785).
 *
 * Equal arguments have equal keys in every language.
 */
export function argumentKey(prefix: string, args: unknown): string {
  if (prefix === "") {
    throw usage("the prefix of a key is empty");
  }
  const hash = createHash("sha256").update(canonicalJson(args), "utf8").digest("hex");
  return `${prefix}:${hash.slice(0, 32)}`;
}

/** Returns the canonical JSON (RFC 8785) of a value. */
export function canonicalJson(value: unknown): string {
  return canonical(value, "the arguments", new Set());
}

function canonical(value: unknown, path: string, parents: Set<object>): string {
  switch (typeof value) {
    case "boolean":
      return value.toString();
    case "string":
      if (!value.isWellFormed()) {
        throw usage(`${path} has text with a lone surrogate`);
      }
      return JSON.stringify(value);
    case "number":
      if (!Number.isFinite(value)) {
        throw usage(`${path} has ${value}; JSON has only finite numbers`);
      }
      return number(value, path);
    case "bigint":
      return number(Number(value), path);
    case "object":
      return value === null ? "null" : canonicalObject(value, path, parents);
    default:
      throw usage(`${path} has a ${typeof value}, which has no JSON`);
  }
}

/** Two integers beyond the safe ones could have one key. Numbers with an exponent cannot be ids. */
function number(value: number, path: string): string {
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21) {
    throw usage(`${path} has ${value}; an integer must be within ±${Number.MAX_SAFE_INTEGER}`);
  }
  return JSON.stringify(value);
}

function canonicalObject(value: object, path: string, parents: Set<object>): string {
  if (parents.has(value)) {
    throw usage(`${path} contains itself`);
  }
  parents.add(value);
  const result = Array.isArray(value)
    ? `[${value.map((item, index) => canonical(item, `${path}[${index}]`, parents)).join(",")}]`
    : members(value, path, parents);
  parents.delete(value);
  return result;
}

function members(value: object, path: string, parents: Set<object>): string {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw usage(`${path} has an object of a class; only plain objects and arrays have a key`);
  }
  // RFC 8785 sorts by UTF-16 code units, as `sort` does.
  const names = Object.keys(value).sort();
  const parts = names.map((name) => {
    const member = (value as Record<string, unknown>)[name];
    return `${JSON.stringify(name)}:${canonical(member, `${path}.${name}`, parents)}`;
  });
  return `{${parts.join(",")}}`;
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}
