// Builds the package: dist/esm and dist/cjs, each with types.
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
rmSync(`${root}/dist`, { recursive: true, force: true });
for (const [format, type] of [
  ["esm", "module"],
  ["cjs", "commonjs"],
]) {
  execFileSync("npx", ["tsc", "-p", `tsconfig.${format}.json`], { cwd: root, stdio: "inherit" });
  writeFileSync(`${root}/dist/${format}/package.json`, `{ "type": "${type}" }\n`);
}
