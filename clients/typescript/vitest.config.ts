import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/replicas.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // The machine may be busy: files share it one after the other.
    fileParallelism: false,
  },
});
