// A minimal gRPC client for a load: unary calls over one HTTP/2 connection, with hand-made messages.

import http2 from "node:http2";

const varint = (number) => {
  const bytes = [];
  for (let rest = number; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) | 128);
  }
};
const field = (number, bytes) => Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
const text = (number, string) => field(number, Buffer.from(string));

const LEASE = field(7, Buffer.alloc(0));

export class Client {
  constructor(address) {
    this.session = http2.connect(`http://${address}`);
    // Calls in flight report the error.
    this.session.on("error", () => {});
  }

  get(namespace, key, { lease = false } = {}) {
    return this.call("Get", Buffer.concat([text(1, namespace), text(2, key), lease ? LEASE : Buffer.alloc(0)]));
  }

  set(namespace, key, value) {
    return this.call("Set", Buffer.concat([text(1, namespace), text(2, key), field(3, Buffer.from(value))]));
  }

  /// Resolves to the status of the call, and to 14 (UNAVAILABLE) without an answer.
  call(method, message) {
    return new Promise((resolve) => {
      // The server has sent GOAWAY.
      if (this.session.closed || this.session.destroyed) { resolve(14); return; }
      const path = `/twintier.v1.CacheService/${method}`;
      let status = "14";
      const frame = Buffer.alloc(5);
      frame.writeUInt32BE(message.length, 1);
      const stream = this.session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" });
      const note = (headers) => { status = headers["grpc-status"] ?? status; };
      stream.on("response", note).on("trailers", note).on("error", () => {}).on("close", () => resolve(Number(status)));
      stream.resume();
      stream.end(Buffer.concat([frame, message]));
    });
  }

  close() {
    this.session.destroy();
  }
}
