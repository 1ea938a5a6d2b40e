// Starts the example: node examples/express/server.js
import { Cache } from "@twintier/client";
import { createApp } from "./app.js";

const cache = new Cache({ addresses: process.env["TWINTIER_SERVER"] ?? "localhost:50051" });
const database = new Map([["1", { name: "Ada" }]]);
const server = createApp(cache, database).listen(3000, () => console.log("on port 3000"));

process.once("SIGTERM", () => {
  server.close(() => void cache.close());
});
