import { experimental, type ChannelOptions } from "@grpc/grpc-js";

type Listener = experimental.ResolverListener;
type Endpoint = experimental.Endpoint;
type Resolution = experimental.StatusOr<Endpoint[]>;

const SCHEME = "twintier";
const SEPARATOR = ",";

/** Returns the target of a channel to all addresses. */
export function targetOf(addresses: readonly [string, ...string[]]): string {
  if (addresses.length === 1) {
    return addresses[0];
  }
  register();
  return `${SCHEME}:${addresses.join(SEPARATOR)}`;
}

let registered = false;

function register(): void {
  if (!registered) {
    experimental.registerResolver(SCHEME, AddressListResolver);
    registered = true;
  }
}

/**
 * Resolves a list of addresses: each by the resolver of its own scheme.
 *
 * The list has the endpoints of every address that could be resolved.
 */
class AddressListResolver implements experimental.Resolver {
  readonly #children: experimental.Resolver[];
  readonly #results: (Resolution | undefined)[];

  constructor(target: experimental.GrpcUri, listener: Listener, options: ChannelOptions) {
    const uris = target.path.split(SEPARATOR).map(uriOf);
    this.#results = uris.map(() => undefined);
    this.#children = uris.map((uri, index) =>
      createResolver(uri, (result) => this.#resolved(index, result, listener), options),
    );
  }

  static getDefaultAuthority(target: experimental.GrpcUri): string {
    const [first = ""] = target.path.split(SEPARATOR);
    return uriOf(first).path.replace(/^\/+/, "");
  }

  updateResolution(): void {
    for (const child of this.#children) {
      child.updateResolution();
    }
  }

  destroy(): void {
    this.#results.fill(undefined);
    for (const child of this.#children) {
      child.destroy();
    }
  }

  #resolved(index: number, result: Resolution, listener: Listener): boolean {
    const before = this.#results[index];
    // An address that cannot be resolved again keeps its endpoints.
    this.#results[index] = result.ok || before?.ok !== true ? result : before;
    const merged = merge(this.#results);
    return merged === undefined || listener(merged, {}, null, "");
  }
}

function createResolver(
  uri: experimental.GrpcUri,
  resolved: (result: Resolution) => boolean,
  options: ChannelOptions,
): experimental.Resolver {
  return experimental.createResolver(uri, (result) => resolved(result), options);
}

function uriOf(address: string): experimental.GrpcUri {
  const [, scheme, path] = /^(dns|ipv4|ipv6|unix):(.*)$/.exec(address) ?? [];
  return scheme === undefined ? { scheme: "dns", path: address } : { scheme, path: path ?? "" };
}

/** Returns the endpoints of all results, or `undefined` while more results are awaited. */
function merge(results: readonly (Resolution | undefined)[]): Resolution | undefined {
  if (results.includes(undefined)) {
    return undefined;
  }
  const endpoints = results.flatMap((result) => (result?.ok === true ? result.value : []));
  if (endpoints.length > 0) {
    return experimental.statusOrFromValue(endpoints);
  }
  const [failed] = results.filter((result) => result !== undefined && !result.ok);
  return failed;
}
