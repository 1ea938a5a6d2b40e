import { usage } from "./errors.js";
import { argumentKey, KeyTemplate } from "./keys.js";
import type { Operations } from "./operations.js";
import type { LoadOptions } from "./options.js";
import type { Invalidated } from "./writes.js";

/** Options of a cached function. Exactly one of `key` and `prefix` is required. */
export interface CachedOptions<A extends unknown[]> extends Omit<LoadOptions, "tags" | "signal"> {
  /**
   * Template of the key, such as `"user:{id}"`, or a function of the arguments.
   *
   * The names stand for the arguments in their order, or for the fields of the only argument, if
   * that is an object.
   */
  readonly key?: string | ((...args: A) => string);
  /** Prefix of the key. The arguments are hashed. */
  readonly prefix?: string;
  /** Tags: templates with the names of `key`, or a function of the arguments. */
  readonly tags?: readonly string[] | ((...args: A) => readonly string[]);
}

/** A function whose results are cached. */
export interface CachedFunction<A extends unknown[], R> {
  (...args: A): Promise<R>;
  /** Returns the key for these arguments. */
  readonly key: (...args: A) => string;
  /** Removes the entry of these arguments. */
  readonly invalidate: (...args: A) => Promise<Invalidated>;
  /** Calls the function, and stores the result. */
  readonly refresh: (...args: A) => Promise<R>;
  /** Calls the function without the cache. */
  readonly uncached: (...args: A) => Promise<R>;
}

/** Returns a function whose results are cached. */
export function cachedFunction<A extends unknown[], R>(
  cache: Operations,
  fn: (...args: A) => R | Promise<R>,
  options: CachedOptions<A>,
): CachedFunction<A, R> {
  const { key, prefix, tags, ...load } = options;
  const names = namesOf(key, prefix, tags);
  const optionsOf = (args: A) => ({ ...load, tags: names.tags(args) });
  const uncached = async (...args: A) => fn(...args);
  const call = (...args: A) =>
    cache.getOrSet(names.key(args), () => uncached(...args), optionsOf(args)) as Promise<R>;
  const refresh = async (...args: A) => {
    const result = await uncached(...args);
    const { negativeTtl } = load;
    const { namespace, timeout, strict } = load;
    const callOptions = { namespace, timeout, strict };
    if (result === undefined) {
      await cache.setAbsent(names.key(args), { ...callOptions, negativeTtl });
    } else {
      const { ttl, softTtl, sourceVersion, jitter } = load;
      const entry = { ttl, softTtl, sourceVersion, jitter, tags: names.tags(args) };
      await cache.set(names.key(args), result, { ...callOptions, ...entry });
    }
    return result;
  };
  const { namespace, timeout, strict } = load;
  return Object.assign(call, {
    key: (...args: A) => names.key(args),
    invalidate: (...args: A) =>
      cache.invalidate({ keys: names.key(args) }, { namespace, timeout, strict }),
    refresh,
    uncached,
  });
}

interface Names<A> {
  key(args: A): string;
  tags(args: A): readonly string[] | undefined;
}

function namesOf<A extends unknown[]>(
  key: CachedOptions<A>["key"],
  prefix: string | undefined,
  tags: CachedOptions<A>["tags"],
): Names<A> {
  if ((key === undefined) === (prefix === undefined)) {
    throw usage("a cached function must have exactly one of key and prefix");
  }
  const template = typeof key === "string" ? new KeyTemplate(key) : undefined;
  const tagTemplates = typeof tags === "function" ? [] : tags?.map((tag) => new KeyTemplate(tag));
  checkTags(template, tagTemplates ?? []);
  return {
    key(args) {
      if (typeof key === "function") {
        return key(...args);
      }
      return template === undefined
        ? argumentKey(prefix ?? "", args)
        : template.fill(valuesOf(template, args));
    },
    tags(args) {
      if (typeof tags === "function") {
        return tags(...args);
      }
      const values = template === undefined ? () => undefined : valuesOf(template, args);
      return tagTemplates?.map((tag) => tag.fill(values));
    },
  };
}

function checkTags(template: KeyTemplate | undefined, tags: readonly KeyTemplate[]): void {
  for (const tag of tags) {
    for (const name of tag.names) {
      if (template?.names.has(name) !== true) {
        throw usage(`the tag ${JSON.stringify(tag.template)} names ${name}, which key does not`);
      }
    }
  }
}

/** Returns a function from names to arguments, or to fields of the only argument. */
function valuesOf(template: KeyTemplate, args: readonly unknown[]): (name: string) => unknown {
  const names = [...template.names];
  const [only] = args;
  if (args.length === 1 && typeof only === "object" && only !== null) {
    return (name) => (Object.hasOwn(only, name) ? (only as Record<string, unknown>)[name] : null);
  }
  if (args.length !== names.length) {
    throw usage(
      `the function has ${args.length} arguments; the template ` +
        `${JSON.stringify(template.template)} has ${names.length} names`,
    );
  }
  return (name) => args[names.indexOf(name)];
}
