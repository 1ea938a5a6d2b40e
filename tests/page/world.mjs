// What the page is looked at with: a Redis, replicas of the built program, a way between them that can be hurt, and a load. Whatever is
// started here is ended here, by its process.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "./grpc.mjs";

export const PATIENCE = 60_000;

/// Looks again and again until `look` gives something.
export const until = async (what, look, patience = PATIENCE) => {
  const begun = Date.now();
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() - begun > patience) throw new Error(`not within ${patience} ms: ${what}`);
    await sleep(50);
  }
};

export const freePort = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

/// What was started and has not ended: it does not outlive the tests, whatever becomes of them.
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(128 + os.constants.signals[signal]));
const start = (program, args, options) => {
  const child = spawn(program, args, options);
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
};

const ended = async (child, signal) => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const end = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await end;
};

/// A Redis on a port that stays its own while it is away.
export class Redis {
  static async start() {
    const redis = new Redis();
    redis.directory = mkdtempSync(path.join(os.tmpdir(), "twintier-page-"));
    redis.port = await freePort();
    await redis.returns();
    return redis;
  }

  async returns() {
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", "--save", "", "--dir", this.directory];
    this.child = start("redis-server", args, { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    this.child.stdout.on("data", (data) => { said = (said + data).slice(-10_000); });
    await until("Redis listens", () => said.includes("eady to accept connections"));
  }

  async goes() {
    await ended(this.child, "SIGKILL");
  }

  async end() {
    await this.goes();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/// A way to Redis: `delay` in milliseconds for what it answers; `deaf` swallows what it tells subscribers.
export class Way {
  static async to(port) {
    const way = Object.assign(new Way(), { delay: 0, deaf: false, sockets: new Set() });
    way.server = net.createServer((client) => way.join(client, port)).listen(0, "127.0.0.1");
    await new Promise((resolve) => way.server.once("listening", resolve));
    way.port = way.server.address().port;
    return way;
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

/// A replica, on ports that stay its own while it is away.
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
    await replica.returns();
    return replica;
  }

  async returns() {
    this.child = start(process.env.TEST_PROGRAM, this.args, { stdio: ["ignore", "ignore", "pipe"], env: {} });
    this.log = "";
    this.child.stderr.on("data", (data) => { this.log = (this.log + data).slice(-20_000); });
    await until("the replica is ready", () => {
      if (this.child.exitCode !== null) throw new Error(`the replica ended: ${this.log}`);
      return this.isReady();
    });
  }

  async isReady() {
    const answer = await fetch(`${this.page}readyz`).catch(() => null);
    return answer?.status === 200 && (await answer.text()).includes("redis healthy");
  }

  async end() {
    await ended(this.child, "SIGTERM");
  }
}

/// A load: calls `ask` so many times a second, until it is ended. What does not get an answer is not asked again.
export class Load {
  constructor(address, aSecond, ask) {
    this.client = new Client(address);
    const begun = Date.now();
    let asked = 0;
    let open = 0;
    this.timer = setInterval(() => {
      for (const due = ((Date.now() - begun) / 1000) * aSecond; asked < due; asked += 1) {
        if (open >= 200) continue;
        open += 1;
        ask(this.client, asked).finally(() => { open -= 1; });
      }
    }, 10);
  }

  end() {
    clearInterval(this.timer);
    this.client.close();
  }
}
