import { once } from "node:events";
import type { AddressInfo } from "node:net";
import express from "express";
import { inject, describe, expect, it, onTestFinished } from "vitest";
import { createApp } from "../examples/express/app.js";
import type { Cache } from "../src/index.js";
import { sessions, SESSION_HEADER, type SessionsOptions } from "../src/express.js";
import { testCache, uniqueName } from "./support/caches.js";

/** Starts an app, and returns its URL. */
async function listening(app: express.Express): Promise<string> {
  const server = app.listen(0, "127.0.0.1");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function appWith(cache: Cache, options?: SessionsOptions): express.Express {
  const app = express();
  app.use(sessions(cache, options));
  app.get("/set/:value", async (request, response) => {
    await cache.set("k", request.params.value);
    response.end();
  });
  app.get("/get", async (_request, response) => {
    response.send(await cache.get("k"));
  });
  return app;
}

describe("the Express example", () => {
  it("answers from the cache, and changes at once", async () => {
    const database = new Map([["1", { name: "Ada" }]]);
    const url = await listening(createApp(testCache() as never, database));
    const user = async (id: string) => (await fetch(`${url}/users/${id}`)).json();
    expect(await user("1")).toEqual({ name: "Ada" });
    database.set("1", { name: "not seen" });
    expect(await user("1")).toEqual({ name: "Ada" });
    const body = JSON.stringify({ name: "Grace" });
    const headers = { "content-type": "application/json" };
    await fetch(`${url}/users/1`, { method: "PUT", body, headers });
    expect(await user("1")).toEqual({ name: "Grace" });
    expect((await fetch(`${url}/users/2`)).status).toBe(404);
  });
});

describe("sessions", () => {
  it("carry what a request wrote to the next one, at another replica", async () => {
    const namespace = uniqueName();
    const urls = await Promise.all(
      inject("addresses").map((address) =>
        listening(appWith(testCache({ namespace, addresses: [address] }))),
      ),
    );
    for (let value = 1; value <= 10; value += 1) {
      const written = await fetch(`${urls[0]}/set/${value}`);
      const session = written.headers.get(SESSION_HEADER) ?? "";
      expect(session).not.toBe("");
      const read = await fetch(`${urls[1]}/get`, { headers: { [SESSION_HEADER]: session } });
      expect(await read.text()).toBe(String(value));
    }
  });

  it("begin anew when the header is no session", async () => {
    const url = await listening(appWith(testCache()));
    const headers = { [SESSION_HEADER]: "a b,c" };
    expect((await fetch(`${url}/set/1`, { headers })).status).toBe(200);
  });

  it("use functions of the caller", async () => {
    let text = "";
    const options: SessionsOptions = {
      read: () => text,
      write: (_response, written) => {
        text = written;
      },
    };
    const url = await listening(appWith(testCache(), options));
    const response = await fetch(`${url}/set/1`);
    expect(text).not.toBe("");
    expect(response.headers.get(SESSION_HEADER)).toBeNull();
  });
});
