// Starts a replica without Redis, for the bench and the example.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

/** Returns the address of a new replica, and a function that stops it. */
export async function startService(/** @type {string} */ program) {
  const address = `127.0.0.1:${await freePort()}`;
  const settings = ["--set", "log.level=error", "--set", "admin.listen=127.0.0.1:0"];
  const service = spawn(program, ["serve", "--listen", address, ...settings], { stdio: "ignore" });
  await once(service, "spawn");
  const stop = async () => {
    const exited = once(service, "exit");
    if (service.kill("SIGINT")) {
      await exited;
    }
  };
  const health = spawn(program, ["health", "readiness", "--wait", "30s", "--server", address]);
  const [code] = await once(health, "exit");
  if (code !== 0) {
    await stop();
    throw new Error("the service was not ready within 30 s");
  }
  return { address, stop };
}

async function freePort() {
  const reserved = createServer().listen(0, "127.0.0.1");
  await once(reserved, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (reserved.address());
  await once(reserved.close(), "close");
  return port;
}
