import { readFileSync } from "node:fs";
import { Client, credentials, type ChannelCredentials, type ChannelOptions } from "@grpc/grpc-js";
import { usage } from "../errors.js";
import { targetOf } from "./resolver.js";

/** Settings of TLS. */
export interface TlsOptions {
  /** File with the certificates of authorities, in PEM. Without it the system's apply. */
  readonly caFile?: string;
  /** File with the certificate of this client, in PEM, for mutual TLS. */
  readonly certFile?: string;
  /** File with the private key of this client, in PEM, for mutual TLS. */
  readonly keyFile?: string;
  /** Name that the certificate of the service must have, if it is not that of the address. */
  readonly serverName?: string;
}

/** Settings of the connection. */
export interface ConnectionOptions {
  /**
   * Addresses of replicas: `"host:port"`, `"dns:///name:port"`, `"unix:///path"`. Calls go to all
   * replicas in turn.
   */
  readonly addresses: string | readonly string[];
  /** Settings of TLS, or `true` for TLS with the certificates of the system. */
  readonly tls?: boolean | TlsOptions;
  /** Settings of the channel of grpc-js, which replace those of this library. */
  readonly channelOptions?: ChannelOptions;
}

/** The settings of docs/rolling-updates.md. Deadlines are set on every call. */
const SERVICE_CONFIG = {
  loadBalancingConfig: [{ round_robin: {} }],
  healthCheckConfig: { serviceName: "readiness" },
  methodConfig: [
    {
      name: [{ service: "twintier.v1.CacheService" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "1s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
    { name: [{ service: "twintier.v1.CacheService", method: "Watch" }] },
  ],
};

const CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
  "grpc.service_config_disable_resolution": 1,
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
};

/** Opens a channel. It connects with the first call. */
export function connect(options: ConnectionOptions): Client {
  const tls = options.tls === true ? {} : options.tls;
  const named =
    tls === undefined || tls === false || tls.serverName === undefined
      ? {}
      : { "grpc.ssl_target_name_override": tls.serverName };
  return new Client(
    targetOf(addressesOf(options.addresses)),
    tls === undefined || tls === false ? credentials.createInsecure() : secure(tls),
    { ...CHANNEL_OPTIONS, ...named, ...options.channelOptions },
  );
}

function addressesOf(given: string | readonly string[]): readonly [string, ...string[]] {
  const [first, ...others] = typeof given === "string" ? [given] : given;
  const valid = (address: unknown) => typeof address === "string" && /^[^\s,]+$/.test(address);
  if (first === undefined || ![first, ...others].every(valid)) {
    throw usage(
      `addresses is ${JSON.stringify(given)}; it must be one or more texts such as "host:port"`,
    );
  }
  return [first, ...others];
}

function secure(tls: TlsOptions): ChannelCredentials {
  if ((tls.certFile === undefined) !== (tls.keyFile === undefined)) {
    throw usage("tls.certFile and tls.keyFile must be given together");
  }
  return credentials.createSsl(
    read("tls.caFile", tls.caFile),
    read("tls.keyFile", tls.keyFile),
    read("tls.certFile", tls.certFile),
  );
}

function read(field: string, path: string | undefined): Buffer | null {
  if (path === undefined) {
    return null;
  }
  try {
    return readFileSync(path);
  } catch (error) {
    throw usage(`${field} cannot be read: ${String(error)}`);
  }
}
