import type { WatchChange } from "../generated/twintier/v1/watch.js";

/** Entries that a change covers. */
export type Covers =
  | { readonly keys: readonly string[] }
  | { readonly prefix: string }
  | { readonly pattern: string }
  /** Every entry, or entries that the key does not tell, such as those of a tag. */
  | { readonly all: true };

/** Returns the entries that a change of a watch covers. */
export function coversOf(change: WatchChange): Covers {
  switch (change.covers?.$case) {
    case "keys":
      return { keys: change.covers.value.keys };
    case "prefix":
      return { prefix: change.covers.value };
    case "pattern":
      return { pattern: change.covers.value };
    default:
      return { all: true };
  }
}

/** Returns a function that says whether a key may be covered. */
export function matcher(covers: Covers): (key: string) => boolean {
  if ("keys" in covers) {
    const keys = new Set(covers.keys);
    return (key) => keys.has(key);
  }
  if ("prefix" in covers) {
    const prefix = covers.prefix.replace(/[:/]$/, "");
    return (key) => key.startsWith(prefix) && /^$|^[:/]/.test(key.slice(prefix.length));
  }
  if ("pattern" in covers) {
    const pattern = glob(covers.pattern);
    return (key) => pattern.test(key);
  }
  return () => true;
}

/** Compiles a pattern: `*` matches any characters, `?` one, and `\` escapes the next. */
function glob(pattern: string): RegExp {
  const source = pattern.replace(/\\(.)|([*?])|[.+^${}()|[\]\\/]/gsu, (part, escaped, wild) => {
    if (wild !== undefined) {
      return wild === "*" ? ".*" : ".";
    }
    const literal = (escaped as string | undefined) ?? part;
    return /[\p{L}\p{N}_\s]/u.test(literal) ? literal : `\\u{${hex(literal)}}`;
  });
  return new RegExp(`^${source}$`, "su");
}

function hex(character: string): string {
  return (character.codePointAt(0) ?? 0).toString(16);
}
