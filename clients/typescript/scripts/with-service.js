// Runs a command with the address of a replica as its last argument.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { startService } from "./service.js";

const [command = "", ...args] = process.argv.slice(2);
const { address, stop } = await startService(process.env["TWINTIER"] ?? "../../target/debug/twintier");
try {
  const [code] = await once(spawn(command, [...args, address], { stdio: "inherit" }), "exit");
  process.exitCode = code ?? 1;
} finally {
  await stop();
}
