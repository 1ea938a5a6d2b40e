// Starts two replicas over a Redis for all tests.
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    addresses: string[];
  }
}

const PROGRAM = process.env.TWINTIER ?? resolve("../../target/debug/twintier");
if (!existsSync(PROGRAM)) {
  throw new Error(`no program at ${PROGRAM}: build it, or name it in TWINTIER`);
}

export default async function start(project: TestProject) {
  const folder = await mkdtemp(join(tmpdir(), "twintier-client-"));
  const processes: ChildProcess[] = [];
  const run = (command: string, args: readonly string[]) => {
    const child = spawn(command, args, { stdio: ["ignore", "ignore", "inherit"], cwd: folder });
    processes.push(child);
  };
  const [redis = 0, ...ports] = await freePorts(3);
  run("redis-server", ["--port", String(redis), "--save", "", "--bind", "127.0.0.1"]);
  const addresses = ports.map((port) => `127.0.0.1:${port}`);
  for (const address of addresses) {
    run(PROGRAM, [
      "serve",
      ...["--listen", address, "--redis-url", `redis://127.0.0.1:${redis}`],
      ...["--set", "log.level=error", "--set", "admin.listen=127.0.0.1:0"],
      ...["--set", "cache.stale_window=1h"],
    ]);
  }
  const stopAll = async () => {
    await Promise.all(processes.map(stop));
    await rm(folder, { recursive: true });
  };
  try {
    await Promise.all(addresses.map((address) => ready(address, processes)));
  } catch (error) {
    await stopAll();
    throw error;
  }
  project.provide("addresses", addresses);
  return stopAll;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}

async function ready(address: string, processes: readonly ChildProcess[]): Promise<void> {
  for (;;) {
    if (processes.some(({ exitCode }) => exitCode !== null)) {
      throw new Error("a process for the tests has ended");
    }
    const health = spawn(PROGRAM, ["health", "redis", "--wait", "30s", "--server", address]);
    const [code] = (await once(health, "exit")) as [number];
    if (code === 0) {
      return;
    }
    await sleep(100);
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode === null) {
    const exited = once(child, "exit");
    child.kill("SIGINT");
    await exited;
  }
}
