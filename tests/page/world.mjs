// Fixtures of the dashboard tests: a Redis, replicas of the built program, a proxy with faults between them, and a load. All processes
// that are started here are ended here.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "./grpc.mjs";

export const WAIT_TIMEOUT = 60_000;

/// Polls until `look` returns a value, and returns it.
export const waitUntil = async (what, look, timeout = WAIT_TIMEOUT) => {
  const begun = Date.now();
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() - begun > timeout) throw new Error(`not within ${timeout} ms: ${what}`);
    await sleep(50);
  }
};

export const freePort = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

/// Running processes. They are killed when the tests exit for any reason.
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(128 + os.constants.signals[signal]));
const start = (program, args, options) => {
  const child = spawn(program, args, options);
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
};

const terminate = async (child, signal) => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const end = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await end;
};

/// A Redis that keeps its port while it is stopped.
export class Redis {
  static async start() {
    const redis = new Redis();
    redis.directory = mkdtempSync(path.join(os.tmpdir(), "twintier-page-"));
    redis.port = await freePort();
    await redis.restart();
    return redis;
  }

  async restart() {
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", "--save", "", "--dir", this.directory];
    this.child = start("redis-server", args, { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    this.child.stdout.on("data", (data) => { output = (output + data).slice(-10_000); });
    await waitUntil("Redis listens", () => output.includes("eady to accept connections"));
  }

  async kill() {
    await terminate(this.child, "SIGKILL");
  }

  async end() {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/// A proxy to Redis: `delay` delays its replies by milliseconds; `deaf` drops the messages of subscriptions.
export class Proxy {
  static async to(port) {
    const proxy = Object.assign(new Proxy(), { delay: 0, deaf: false, sockets: new Set() });
    proxy.server = net.createServer((client) => proxy.join(client, port)).listen(0, "127.0.0.1");
    await new Promise((resolve) => proxy.server.once("listening", resolve));
    proxy.port = proxy.server.address().port;
    return proxy;
  }

  join(client, port) {
    const server = net.connect(port, "127.0.0.1");
    let subscribes = false;
    for (const [one, other] of [[client, server], [server, client]]) {
      this.sockets.add(one);
      one.setNoDelay(true);
      one.on("error", () => other.destroy());
      one.on("close", () => { this.sockets.delete(one); other.destroy(); });
    }
    client.on("data", (data) => {
      subscribes ||= /subscribe/i.test(data.toString("latin1"));
      server.write(data);
    });
    server.on("data", (data) => {
      if (subscribes && this.deaf) return;
      if (this.delay && !subscribes) setTimeout(() => client.destroyed || client.write(data), this.delay);
      else client.write(data);
    });
  }

  end() {
    this.server.close();
    this.sockets.forEach((socket) => socket.destroy());
  }
}

/// A replica that keeps its ports while it is stopped.
export class Replica {
  static async start(redisPort, settings = {}) {
    const replica = new Replica();
    const [port, admin] = [await freePort(), await freePort()];
    Object.assign(replica, { address: `127.0.0.1:${port}`, page: `http://127.0.0.1:${admin}/` });
    const all = {
      "server.listen": replica.address, "admin.listen": `127.0.0.1:${admin}`, "redis.url": `redis://127.0.0.1:${redisPort}`,
      "redis.read_timeout": "2s", "redis.write_timeout": "2s", "drain.delay": "0s", ...settings,
    };
    replica.args = Object.entries(all).flatMap(([setting, value]) => ["--set", `${setting}=${value}`]);
    await replica.restart();
    return replica;
  }

  async restart() {
    this.child = start(process.env.TEST_PROGRAM, this.args, { stdio: ["ignore", "ignore", "pipe"], env: {} });
    this.log = "";
    this.child.stderr.on("data", (data) => { this.log = (this.log + data).slice(-20_000); });
    await waitUntil("the replica is ready", () => {
      if (this.child.exitCode !== null) throw new Error(`the replica ended: ${this.log}`);
      return this.isReady();
    });
  }

  async isReady() {
    const answer = await fetch(`${this.page}readyz`).catch(() => null);
    return answer?.status === 200 && (await answer.text()).includes("redis healthy");
  }

  async end() {
    await terminate(this.child, "SIGTERM");
  }
}

/// A load: calls `send` at a fixed rate per second until it is ended. Failed calls are not repeated.
export class Load {
  constructor(address, perSecond, send) {
    this.client = new Client(address);
    const begun = Date.now();
    let sent = 0;
    let open = 0;
    this.timer = setInterval(() => {
      for (const due = ((Date.now() - begun) / 1000) * perSecond; sent < due; sent += 1) {
        if (open >= 200) continue;
        open += 1;
        send(this.client, sent).finally(() => { open -= 1; });
      }
    }, 10);
  }

  end() {
    clearInterval(this.timer);
    this.client.close();
  }
}
