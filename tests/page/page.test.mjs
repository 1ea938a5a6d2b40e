// The page in a browser, over replicas of the built program: what it shows must follow what is done to them. `make test-page` runs it and
// leaves pictures in target/page/.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { Client } from "./grpc.mjs";
import { Load, PATIENCE, Redis, Replica, Way, until } from "./world.mjs";

const { chromium } = createRequire(`${process.env.TEST_NODE}/`)("playwright-core");
const PICTURES = new URL("../../target/page/", import.meta.url).pathname;
const DESK = { viewport: { width: 1360, height: 1000 } };
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true };
const QUIET = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync",
];

let browser;
let redis;
let way;
let one;
let other;
const loads = [];

const load = (replica, aSecond, ask) => {
  loads.push(new Load(replica.address, aSecond, ask));
  return loads.at(-1);
};

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  redis = await Redis.start();
  way = await Way.to(redis.port);
  one = await Replica.start(way.port, { "l1.size": "8MiB" });
  other = await Replica.start(redis.port, { "admin.keys": "clear" });
  browser = await chromium.launch({ executablePath: process.env.TEST_CHROMIUM ?? "/usr/bin/chromium", args: QUIET });
  const names = ["sessions", "users", "prices"];
  load(one, 60, (client, n) => {
    const [namespace, key] = [names[n % 40 % 3], `k${n % 40}`];
    return n % 9 ? client.get(namespace, key) : client.set(namespace, key, "v".repeat(100));
  });
});

after(async () => {
  loads.forEach((running) => running.end());
  await browser?.close();
  await Promise.all([one?.end(), other?.end()]);
  way?.end();
  await redis?.end();
});

/// A browser's view of a replica's page. What goes wrong in it is collected.
const view = async (replica, options = DESK) => {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const wrong = [];
  const away = new URL(replica.page).origin;
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) wrong.push(message.text()); });
  page.on("pageerror", (error) => wrong.push(String(error)));
  // A page that is left ends its stream.
  const left = (request) => request.url().endsWith("/events") && request.failure().errorText === "net::ERR_ABORTED";
  page.on("requestfailed", (request) => left(request) || wrong.push(`${request.url()}: ${request.failure().errorText}`));
  page.on("response", (response) => { if (response.status() >= 400) wrong.push(`${response.url()}: ${response.status()}`); });
  page.on("request", (request) => { if (new URL(request.url()).origin !== away) wrong.push(`elsewhere: ${request.url()}`); });
  await page.goto(replica.page);
  await page.waitForFunction(() => document.body.dataset.state === "live", null, { timeout: PATIENCE });
  return { page, wrong, close: () => context.close() };
};

const shows = (page, selector, text) =>
  page.waitForFunction(([selector, text]) => document.querySelector(selector).textContent.includes(text), [selector, text], { timeout: PATIENCE });
const lacks = (page, selector, text) =>
  page.waitForFunction(([selector, text]) => !document.querySelector(selector).textContent.includes(text), [selector, text], { timeout: PATIENCE });
const picture = (page, name) => page.screenshot({ path: `${PICTURES}${name}.png`, fullPage: true });

test("it loads whole, from its own origin only, and its numbers live", async () => {
  const { page, wrong, close } = await view(one);
  await page.waitForFunction(() => Number(document.getElementById("requests").textContent) > 0, null, { timeout: PATIENCE });
  await page.waitForFunction(() => document.querySelectorAll("#namespaces tbody tr").length === 3, null, { timeout: PATIENCE });
  await page.waitForFunction(() => document.querySelectorAll("#fleet tbody tr").length === 2, null, { timeout: PATIENCE });
  const line = () => page.locator("#chart-traffic path").first().getAttribute("d");
  const before = await line();
  await until("the chart moves", async () => (await line()) !== before);
  for (const id of ["requests", "hits", "p99", "memory", "proof", "in-flight", "violations"]) {
    assert.match(await page.textContent(`#${id}`), /\d/, id);
  }
  assert.match(await page.textContent("#hot tbody"), /#[0-9a-f]{16}/);
  await picture(page, "light");
  assert.deepEqual(wrong, []);
  await close();
});

test("a page opened later shows what was", async () => {
  const { page, close } = await view(one);
  const points = await page.locator("#chart-traffic path").first().getAttribute("d");
  assert.ok(points.split("L").length > 4, points);
  await close();
});

test("its colours follow the system until somebody chooses", async () => {
  const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const { page, wrong, close } = await view(one, { ...DESK, colorScheme: "dark" });
  const dark = await ground(page);
  await picture(page, "dark");
  await page.focus("#theme");
  await page.keyboard.press("Enter");
  assert.equal(await page.textContent("#theme"), "○ light");
  const light = await ground(page);
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await ground(page), light);
  await page.emulateMedia({ colorScheme: "light" });
  await page.click("#theme");
  assert.equal(await ground(page), dark);
  assert.deepEqual(wrong, []);
  await close();
});

test("it fits a phone", async () => {
  const { page, wrong, close } = await view(one, PHONE);
  await page.waitForFunction(() => document.querySelectorAll("#namespaces tbody tr").length > 0, null, { timeout: PATIENCE });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  await picture(page, "phone");
  assert.deepEqual(wrong, []);
  await close();
});

test("a namespace is chosen by keyboard, and what callers name is nothing but text", async () => {
  const [name, key] = ["searches", "<img src=x onerror=alert(1)>"];
  const busy = load(other, 50, (client, n) => (n ? client.get(name, key) : client.set(name, key, "v")));
  const { page, wrong, close } = await view(other);
  const button = page.getByRole("button", { name, exact: true });
  await button.waitFor({ timeout: PATIENCE });
  await button.focus();
  await page.keyboard.press("Enter");
  await shows(page, "#scope", `namespace ${name}`);
  assert.equal(await button.getAttribute("aria-pressed"), "true");
  await page.focus("#chart-traffic");
  await page.keyboard.press("ArrowLeft");
  await shows(page, "#scope", " at ");
  await page.keyboard.press("Escape");
  await page.click("#scope-all");
  await shows(page, "#scope", "All namespaces");
  await shows(page, "#hot", key);
  assert.equal(await page.locator("#hot img").count(), 0);
  busy.end();
  assert.deepEqual(wrong, []);
  await close();
});

test("a namespace may be called as what every object has", async () => {
  const { page, wrong, close } = await view(other);
  const button = page.getByRole("button", { name: "constructor", exact: true });
  assert.equal(await button.count(), 0);
  const busy = load(other, 50, (client, n) => (n ? client.get("constructor", "k") : client.set("constructor", "k", "v")));
  await button.waitFor({ timeout: PATIENCE });
  const line = () => page.locator("#namespaces tr", { has: button }).locator(".spark path").first().getAttribute("d");
  const before = await line();
  await until("its line moves", async () => (await line()) !== before);
  await button.click();
  await shows(page, "#scope", "namespace constructor");
  assert.equal(await page.evaluate(() => document.body.dataset.state), "live");
  busy.end();
  assert.deepEqual(wrong, []);
  await close();
});

test("a hot key and a stampede are told", async () => {
  const { page, close } = await view(one);
  const hot = load(one, 400, (client, n) => (n ? client.get("prices", "usd") : client.set("prices", "usd", "1")));
  await shows(page, "#findings", "One key takes a large part of the traffic");
  await picture(page, "hot-key");
  hot.end();
  const herd = load(one, 60, (client, n) => client.get("users", `profile:${Math.floor(n / 100)}`, { lease: true }));
  await shows(page, "#findings", "A stampede, held back by leases");
  await picture(page, "stampede");
  herd.end();
  await lacks(page, "#findings", "A stampede");
  await close();
});

test("a namespace that thrashes is told by its name", async () => {
  const { page, close } = await view(one);
  const value = Buffer.alloc(80_000, "x");
  const thrash = load(one, 150, (client, n) => (n % 3 ? client.set("reports", `r${n}`, value) : client.get("reports", `r${n - 1000}`)));
  await shows(page, "#findings", "Namespace reports is thrashing");
  await picture(page, "thrashing");
  thrash.end();
  await close();
});

test("a slow Redis is told", async () => {
  const { page, close } = await view(one);
  way.delay = 150;
  await shows(page, "#findings", "Redis is slow");
  await picture(page, "redis-slow");
  way.delay = 0;
  await close();
});

test("a broken subscription is told here, and by another replica", async () => {
  const [here, elsewhere] = [await view(one), await view(other)];
  way.deaf = true;
  await shows(here.page, "#findings", "This replica's subscription is broken");
  const id = await here.page.textContent("#replica");
  await shows(elsewhere.page, "#findings", `The subscription of replica ${id} is broken`);
  await picture(here.page, "subscription");
  await picture(elsewhere.page, "subscription-elsewhere");
  way.deaf = false;
  await lacks(here.page, "#findings", "subscription is broken");
  await Promise.all([here.close(), elsewhere.close()]);
});

test("it survives the loss of Redis and tells its return", async () => {
  const { page, wrong, close } = await view(one);
  await redis.goes();
  await shows(page, "#headline", "Redis is gone");
  assert.equal(await page.getAttribute("#verdict", "data-level"), "critical");
  assert.equal(await page.textContent("#redis-state"), "gone");
  await picture(page, "redis-gone");
  await redis.returns();
  await shows(page, "#redis-state", "healthy");
  await lacks(page, "#findings", "Redis is gone");
  assert.equal(await page.evaluate(() => document.body.dataset.state), "live");
  assert.deepEqual(wrong, []);
  await close();
});

test("it says since when the service is away, and is back with it", async () => {
  const { page, close } = await view(other);
  const before = await page.textContent("#replica");
  await other.end();
  await shows(page, "#live", "disconnected since");
  await shows(page, "#headline", "No word from the service");
  await picture(page, "disconnected");
  await other.returns();
  await page.waitForFunction(() => document.body.dataset.state === "live", null, { timeout: PATIENCE });
  assert.notEqual(await page.textContent("#replica"), before);
  const client = new Client(other.address);
  await client.set("users", "k", "v");
  client.close();
  await shows(page, "#namespaces tbody", "users");
  await close();
});
