import js from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  globalIgnores(["dist", "docs", "src/generated"]),
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      globals: Object.fromEntries(
        ["AbortController", "Buffer", "URL", "console", "performance", "process"].map((name) => [name, "readonly"]),
      ),
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      // A promise that rejects with the reason of a signal, whatever that is.
      "@typescript-eslint/prefer-promise-reject-errors": "off",
      "@typescript-eslint/no-unnecessary-type-parameters": "off",
      "max-len": ["error", { code: 110, ignoreStrings: true, ignoreTemplateLiterals: true }],
      "max-lines": ["error", 350],
      "max-lines-per-function": ["error", 60],
    },
  },
  {
    files: ["test/**"],
    rules: { "max-lines-per-function": "off" },
  },
  {
    // The protocol of the runner is plain JSON.
    files: ["**/*.js"],
    extends: [tseslint.configs.disableTypeChecked],
    rules: { "@typescript-eslint/no-explicit-any": "off" },
  },
);
