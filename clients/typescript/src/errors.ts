import { status, type ServiceError } from "@grpc/grpc-js";
import { ErrorInfo, RetryInfo, Status } from "./generated/google/rpc/status.js";

/** Domain of the service's errors. */
const DOMAIN = "twintier.dev";

/**
 * Kind of an error.
 *
 * | kind | meaning |
 * |---|---|
 * | `unavailable` | the service, or Redis behind it, did not take the call |
 * | `deadline` | the call took too long |
 * | `rejected` | the service refuses the request |
 * | `unauthenticated` | the credential is missing or not accepted |
 * | `denied` | no grant allows the call |
 * | `usage` | wrong arguments, found by this library |
 * | `unreadable` | a value cannot be decoded |
 */
export type ErrorKind =
  | "unavailable"
  | "deadline"
  | "rejected"
  | "unauthenticated"
  | "denied"
  | "usage"
  | "unreadable";

/** Facts about an error of the service. */
export interface ErrorDetails {
  /** Status code of gRPC. */
  readonly code?: number;
  /** Reason, as in docs/errors.md, such as `"L2_UNAVAILABLE"`. */
  readonly reason?: string;
  /** Facts from the service, such as `outcome_unknown_for_ms`. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Milliseconds after which a retry can help. */
  readonly retryAfter?: number;
}

/** The error that this library throws. A cancelled call rejects with the reason of its signal. */
export class TwintierError extends Error {
  override readonly name = "TwintierError";
  /** The kind. */
  readonly kind: ErrorKind;
  /** Facts from the service. */
  readonly details: ErrorDetails;

  constructor(kind: ErrorKind, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
    this.details = details;
  }
}

/** Returns an error about wrong arguments. */
export function usage(message: string): TwintierError {
  return new TwintierError("usage", message);
}

const KINDS = new Map<number, ErrorKind>([
  [status.UNAVAILABLE, "unavailable"],
  [status.CANCELLED, "unavailable"],
  [status.DEADLINE_EXCEEDED, "deadline"],
  [status.UNAUTHENTICATED, "unauthenticated"],
  [status.PERMISSION_DENIED, "denied"],
]);

/** Converts an error of gRPC. */
export function fromServiceError(error: ServiceError): TwintierError {
  const kind = KINDS.get(error.code) ?? "rejected";
  const details = { code: error.code, ...detailsOf(error) };
  return new TwintierError(kind, error.details || error.message, details, error);
}

function detailsOf(error: ServiceError): ErrorDetails {
  const [encoded] = error.metadata.get("grpc-status-details-bin");
  if (!(encoded instanceof Uint8Array)) {
    return {};
  }
  try {
    return merged(Status.decode(encoded));
  } catch {
    return {};
  }
}

function merged(status: Status): ErrorDetails {
  let result: ErrorDetails = {};
  for (const { typeUrl, value } of status.details) {
    if (typeUrl.endsWith("/google.rpc.ErrorInfo")) {
      const info = ErrorInfo.decode(value);
      if (info.domain === DOMAIN) {
        result = { ...result, reason: info.reason, metadata: info.metadata };
      }
    } else if (typeUrl.endsWith("/google.rpc.RetryInfo")) {
      const delay = RetryInfo.decode(value).retryDelay;
      if (delay !== undefined) {
        result = { ...result, retryAfter: Number(delay.seconds) * 1_000 + delay.nanos / 1e6 };
      }
    }
  }
  return result;
}

const OPEN: ReadonlySet<ErrorKind> = new Set([
  "unavailable",
  "deadline",
  "rejected",
  "unauthenticated",
  "denied",
]);

/** Whether a client that is not strict hides this error. */
export function failsOpen(error: unknown): error is TwintierError {
  return error instanceof TwintierError && OPEN.has(error.kind);
}

/** Whether this error says that the service is away, for the breaker. */
export function isAway(error: TwintierError): boolean {
  if (error.kind === "deadline") {
    return true;
  }
  // A replica that answers for itself while Redis is away still serves from memory.
  return error.kind === "unavailable" && error.details.reason !== "L2_UNAVAILABLE";
}
