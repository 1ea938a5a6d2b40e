// Runs the README's first example in fresh projects that install the packed package:
// node scripts/fresh-project.js PACKAGE.tgz FOLDER ADDRESS
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const [tarball = "", folder = "", address = ""] = process.argv.slice(2);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const example = firstExample();
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
write("package.json", JSON.stringify({ private: true, type: "module" }));
write("tsconfig.json", JSON.stringify({ compilerOptions: OPTIONS(), files: ["esm.ts", "cjs.cts"] }));
write("esm.ts", example);
write("cjs.cts", asCommonJs(example));
run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", tarball, ...tools()]);
// Without skipLibCheck: the types of the package must hold on their own.
run("npx", ["--no-install", "tsc"]);
for (const file of ["esm.js", "cjs.cjs"]) {
  const printed = run(process.execPath, [file]).trim();
  if (printed !== "Ada") {
    throw new Error(`${file} printed ${JSON.stringify(printed)}, not "Ada"`);
  }
}
console.log("the README's example runs as an ES module and as CommonJS");

function OPTIONS() {
  return { module: "nodenext", target: "es2022", strict: true, types: ["node"] };
}

function tools() {
  return ["typescript", "@types/node"].map((name) => `${name}@${devDependencies[name]}`);
}

function firstExample() {
  const [, code] = /```ts\n([^]*?)```/.exec(readFileSync(join(root, "README.md"), "utf8")) ?? [];
  if (code?.includes("localhost:50051") !== true) {
    throw new Error("the README's first example names no address");
  }
  return code.replace("localhost:50051", address);
}

/** CommonJS has no await outside of functions. */
function asCommonJs(/** @type {string} */ code) {
  const lines = code.split("\n");
  const imports = lines.filter((line) => line.startsWith("import "));
  const others = lines.filter((line) => !line.startsWith("import "));
  return `${imports.join("\n")}\nasync function main() {\n${others.join("\n")}\n}\nvoid main();\n`;
}

function write(/** @type {string} */ name, /** @type {string} */ text) {
  writeFileSync(join(folder, name), text);
}

function run(/** @type {string} */ command, /** @type {string[]} */ args) {
  return execFileSync(command, args, {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
}
