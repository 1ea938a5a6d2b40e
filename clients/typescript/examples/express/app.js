// A small service: users in a database, cached, with a session for each request.
import express from "express";
import { sessions } from "@twintier/client/express";

/**
 * @param {import("@twintier/client").Cache} cache
 * @param {Map<string, { name: string }>} database
 */
export function createApp(cache, database) {
  const getUser = cache.cached(async (/** @type {string} */ id) => database.get(id), {
    key: "user:{id}",
    ttl: "5m",
    negativeTtl: "30s",
  });

  const app = express();
  app.use(express.json());
  app.use(sessions(cache));

  app.get("/users/:id", async (request, response) => {
    const user = await getUser(request.params.id);
    if (user === undefined) {
      response.status(404).json({ error: "no such user" });
    } else {
      response.json(user);
    }
  });

  app.put("/users/:id", async (request, response) => {
    database.set(request.params.id, { name: String(request.body.name) });
    await getUser.invalidate(request.params.id);
    response.status(204).end();
  });

  return app;
}
