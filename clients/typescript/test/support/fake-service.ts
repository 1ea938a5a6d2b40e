// A service of the test itself: it sees requests and metadata, and answers as the test says.
import {
  Server,
  ServerCredentials,
  type Metadata,
  type ServiceError,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { onTestFinished } from "vitest";
import {
  CacheServiceService,
  GetResponse,
  SetResponse,
  type GetRequest,
  type SetRequest,
} from "../../src/generated/twintier/v1/cache.js";
import { MissReason, SetOutcome } from "../../src/generated/twintier/v1/values.js";

/** Answers of the service. A method that is missing answers as if the cache were empty. */
export interface FakeAnswers {
  get?: (request: GetRequest, metadata: Metadata) => GetResponse | Partial<ServiceError>;
  set?: (request: SetRequest, metadata: Metadata) => SetResponse | Partial<ServiceError>;
}

type Callback = (error: Partial<ServiceError> | null, answer?: unknown) => void;

/** Starts the service, and returns its address. */
export async function fakeService(answers: FakeAnswers): Promise<string> {
  const server = new Server();
  const methods: UntypedServiceImplementation = {
    get: answering(answers.get ?? (() => miss())),
    set: answering(answers.set ?? (() => SetResponse.create({ outcome: SetOutcome.SET_OUTCOME_STORED, token: "t" }))),
  };
  server.addService(CacheServiceService, methods);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) {
        resolve(bound);
      } else {
        reject(error);
      }
    });
  });
  onTestFinished(() => {
    server.forceShutdown();
  });
  return `127.0.0.1:${port}`;
}

/** Returns a miss. */
export function miss(): GetResponse {
  return GetResponse.create({
    result: { $case: "miss", value: { reason: MissReason.MISS_REASON_ABSENT } },
    token: "t",
  });
}

/** Returns a hit with a value in JSON. */
export function hit(value: unknown): GetResponse {
  const encoded = { value: Buffer.from(JSON.stringify(value)), contentType: "application/json" };
  return GetResponse.create({
    result: { $case: "hit", value: { ...encoded, entry: { version: "1" } } },
    token: "t",
  });
}

function answering<Q>(answer: (request: Q, metadata: Metadata) => unknown) {
  return (call: { request: Q; metadata: Metadata }, callback: Callback) => {
    const result = answer(call.request, call.metadata);
    if (typeof result === "object" && result !== null && "code" in result) {
      callback(result as Partial<ServiceError>);
    } else {
      callback(null, result);
    }
  };
}
