// Tests of the dashboard in a browser, with replicas of the built program. `make test-page` runs them and stores pictures in target/page/.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, afterEach, before, test } from "node:test";

import { Client } from "./grpc.mjs";
import { Load, Proxy, Redis, Replica, WAIT_TIMEOUT, waitUntil } from "./world.mjs";

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
let proxy;
let one;
let other;
const loads = [];

const load = (replica, perSecond, send) => {
  loads.push(new Load(replica.address, perSecond, send));
  return loads.at(-1);
};

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  redis = await Redis.start();
  proxy = await Proxy.to(redis.port);
  one = await Replica.start(proxy.port, { "l1.size": "8MiB" });
  other = await Replica.start(redis.port, { "admin.keys": "clear" });
  browser = await chromium.launch({ executablePath: process.env.TEST_CHROMIUM ?? "/usr/bin/chromium", args: QUIET });
  const names = ["sessions", "users", "prices"];
  load(one, 60, (client, n) => {
    const [namespace, key] = [names[n % 40 % 3], `k${n % 40}`];
    return n % 9 ? client.get(namespace, key) : client.set(namespace, key, "v".repeat(100));
  });
});

// Removes the loads and faults of a failed test.
afterEach(() => {
  loads.splice(1).forEach((running) => running.end());
  Object.assign(proxy, { delay: 0, deaf: false });
});

after(async () => {
  loads.forEach((running) => running.end());
  await browser?.close();
  await Promise.all([one?.end(), other?.end()]);
  proxy?.end();
  await redis?.end();
});

/// Opens the dashboard of a replica in a browser, and collects its errors.
const view = async (replica, options = DESK, hello = null) => {
  const context = await browser.newContext(options);
  const body = `event: hello\ndata: ${JSON.stringify(hello)}\n\n`;
  if (hello) await context.route("**/events", (route) => route.fulfill({ contentType: "text/event-stream", body }));
  const page = await context.newPage();
  const errors = [];
  const origin = new URL(replica.page).origin;
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) errors.push(message.text()); });
  page.on("pageerror", (error) => errors.push(String(error)));
  // A closed page aborts its event stream.
  const left = (request) => request.url().endsWith("/events") && request.failure().errorText === "net::ERR_ABORTED";
  page.on("requestfailed", (request) => left(request) || errors.push(`${request.url()}: ${request.failure().errorText}`));
  page.on("response", (response) => { if (response.status() >= 400) errors.push(`${response.url()}: ${response.status()}`); });
  page.on("request", (request) => { if (new URL(request.url()).origin !== origin) errors.push(`foreign origin: ${request.url()}`); });
  await page.goto(replica.page);
  await page.waitForFunction(() => document.body.dataset.state === "live", null, { timeout: WAIT_TIMEOUT });
  return { page, errors, close: () => context.close() };
};

/// The first event that a replica sends to a dashboard.
const helloOf = async (replica) => {
  const abort = new AbortController();
  const response = await fetch(`${replica.page}events`, { signal: abort.signal });
  let received = "";
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    received += part;
    if (received.includes("\n\n")) break;
  }
  abort.abort();
  return JSON.parse(received.slice(received.indexOf("data: ") + 6, received.indexOf("\n\n")));
};

/// A namespace as the events report it.
const namespace = (name, gets = 0, more = {}) => ({
  name, gets: { l1: gets, l2: 0, stale: 0, miss: 0 }, sets_stored: 0, invalidations: 0, evicted_size: 0, write_errors: 0, throttled: 0,
  over_quota: 0, entries: 10, bytes: 1024, ...more,
});

/// The first event of `replica`, with these parts replaced.
const withHello = async (replica, parts) => {
  const hello = await helloOf(replica);
  return { ...hello, namespaces: {}, now: { ...hello.now, ...parts } };
};

const waitForText = (page, selector, text) =>
  page.waitForFunction(([selector, text]) => document.querySelector(selector).textContent.includes(text), [selector, text], { timeout: WAIT_TIMEOUT });
const waitForNoText = (page, selector, text) =>
  page.waitForFunction(([selector, text]) => !document.querySelector(selector).textContent.includes(text), [selector, text], { timeout: WAIT_TIMEOUT });
const picture = (page, name) => page.screenshot({ path: `${PICTURES}${name}.png`, fullPage: true });

test("the dashboard loads from its own origin and updates its numbers", async () => {
  const { page, errors, close } = await view(one);
  await page.waitForFunction(() => Number(document.getElementById("requests").textContent) > 0, null, { timeout: WAIT_TIMEOUT });
  await page.waitForFunction(() => document.querySelectorAll("#namespaces tbody tr").length === 3, null, { timeout: WAIT_TIMEOUT });
  await page.waitForFunction(() => document.querySelectorAll("#fleet tbody tr").length === 2, null, { timeout: WAIT_TIMEOUT });
  const line = () => page.locator("#chart-traffic path").first().getAttribute("d");
  const before = await line();
  await waitUntil("the chart moves", async () => (await line()) !== before);
  for (const id of ["requests", "hits", "p99", "memory", "proof", "in-flight", "violations"]) {
    assert.match(await page.textContent(`#${id}`), /\d/, id);
  }
  assert.match(await page.textContent("#hot tbody"), /#[0-9a-f]{16}/);
  // The state at the start is no failover.
  assert.match(await page.textContent("#coherence"), /failovers0/);
  assert.match(await page.textContent("#p50"), /^p99 · p50 /);
  assert.doesNotMatch(await page.textContent("main"), /half within|slowest hundredth|takeover/i);
  await picture(page, "light");
  assert.deepEqual(errors, []);
  await close();
});

test("a dashboard opened later shows history", async () => {
  const { page, close } = await view(one);
  const points = await page.locator("#chart-traffic path").first().getAttribute("d");
  assert.ok(points.split("L").length > 4, points);
  await close();
});

test("colours follow the system until the user chooses a theme", async () => {
  const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const { page, errors, close } = await view(one, { ...DESK, colorScheme: "dark" });
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
  assert.deepEqual(errors, []);
  await close();
});

test("no line breaks inside a number", async () => {
  const { l1, load } = (await helloOf(one)).now;
  const parts = { l1: { ...l1, entries: 1354, bytes: 5_600_000 }, load: { ...load, limit: 1024, connections: 12_345, watchers: 1234 } };
  for (const width of [320, 360, 800, 1360]) {
    const { page, close } = await view(one, { viewport: { width, height: 900 } }, await withHello(one, parts));
    await waitForText(page, "#memory-fine", "1\u202f354\u00a0entries");
    const broken = await page.evaluate(() => {
      const found = [];
      const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        for (const match of node.data.matchAll(/\d[\d., \u2009\u00a0\u202f]*\d( ?[kMG%]| ?[KMGT]iB)?/g)) {
          const range = document.createRange();
          range.setStart(node, match.index);
          range.setEnd(node, match.index + match[0].length);
          if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) found.push(node.data);
        }
      }
      return found;
    });
    assert.deepEqual(broken, [], `at ${width}`);
    await close();
  }
});

test("labels of axes do not overlap", async () => {
  for (const width of [320, 360, 760, 1180, 1360]) {
    const { page, close } = await view(one, { viewport: { width, height: 900 } });
    await page.waitForFunction(() => document.querySelectorAll("#chart-latency .grid text").length > 3, null, { timeout: WAIT_TIMEOUT });
    const overlaps = await page.evaluate(() => {
      const meet = (one, other) => one.left < other.right && other.left < one.right && one.top + 2 < other.bottom && other.top + 2 < one.bottom;
      return [...document.querySelectorAll("figure svg")].flatMap((chart) => {
        const labels = [...chart.querySelectorAll(".grid text")].map((label) => ({ text: label.textContent, box: label.getBoundingClientRect() }));
        const frame = chart.getBoundingClientRect();
        const outside = labels.filter(({ box }) => box.left < frame.left - 1 || box.right > frame.right + 1).map(({ text }) => text);
        return labels.flatMap((one, i) => labels.slice(i + 1).filter((other) => meet(one.box, other.box)).map((other) => `${one.text} / ${other.text}`)).concat(outside);
      });
    });
    assert.deepEqual(overlaps, [], `at ${width}`);
    await close();
  }
});

test("idle namespaces are one row until it is expanded", async () => {
  const idle = Array.from({ length: 11 }, (_, i) => namespace(`idle-${i}`));
  const namespaces = [namespace("busy", 50), namespace("writes", 0, { sets_stored: 3 }), ...idle, namespace("")];
  const { page, errors, close } = await view(one, DESK, await withHello(one, { namespaces, namespaces_known: 14 }));
  const button = page.getByRole("button", { name: "12 idle namespaces" });
  await button.waitFor({ timeout: WAIT_TIMEOUT });
  const rows = () => page.locator("#namespaces tbody tr").count();
  assert.equal(await rows(), 3);
  assert.equal(await button.getAttribute("aria-expanded"), "false");
  assert.match(await page.textContent("#namespaces tr.fold"), /120/, "their entries");
  await picture(page, "idle");
  await button.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "idle-10", exact: true }).waitFor({ timeout: WAIT_TIMEOUT });
  assert.equal(await rows(), 15);
  assert.equal(await button.getAttribute("aria-expanded"), "true");
  await button.click();
  await waitUntil("folded", async () => (await rows()) === 3);
  assert.deepEqual(errors, []);
  await close();
});

test("keys and memory in Redis are shown as estimates if they are known", async () => {
  const known = [namespace("users", 50, { redis_keys: 123_456, redis_bytes: 5 << 20 }), namespace("zones", 20, { redis_keys: null })];
  const { page, close } = await view(one, DESK, await withHello(one, { namespaces: known, namespaces_known: 2 }));
  await waitForText(page, "#namespaces tbody", "~\u202f123\u202f456");
  await waitForText(page, "#namespaces tbody", "~\u202f5.00\u00a0MiB");
  assert.ok(await page.getByText("Redis keys", { exact: true }).isVisible());
  await picture(page, "redis-keys");
  await close();
  const unknown = await view(one, DESK, await withHello(one, { namespaces: [namespace("users", 50)], namespaces_known: 1 }));
  await waitForText(unknown.page, "#namespaces tbody", "users");
  assert.equal(await unknown.page.getByText("Redis keys", { exact: true }).isVisible(), false);
  await unknown.close();
});

test("every finding links to its runbook", async () => {
  const runbooks = readFileSync(new URL("../../docs/runbooks.md", import.meta.url), "utf8");
  const base = "https://github.com/twintier/twintier/blob/main/docs/runbooks.md";
  const alerts = readFileSync(new URL("../../helm/twintier/rules/twintier.yaml", import.meta.url), "utf8");
  assert.ok(alerts.includes(`runbook_url: ${base}#`), "as the alerts do");
  const finding = (kind, level, runbook) => ({
    kind, level, title: `A ${kind}`, meaning: "It means something.", evidence: "seen", action: "Do `this`.", runbook, runbook_url: `${base}#${runbook}`,
  });
  const findings = [finding("stampede", "warning", "twintierstampede"), finding("hot_key", "notice", "twintierhotkey")];
  const { page, errors, close } = await view(one, DESK, await withHello(one, { findings }));
  await waitForText(page, "#findings", "A hot_key");
  const links = await page.locator("#findings a").evaluateAll((all) => all.map(({ href, target, rel }) => ({ href, target, rel })));
  assert.deepEqual(links, findings.map(({ runbook_url: href }) => ({ href, target: "_blank", rel: "noopener noreferrer" })));
  for (const { runbook } of findings) assert.match(runbooks.toLowerCase(), new RegExp(`^#+ ${runbook}$`, "m"));
  assert.deepEqual(errors, []);
  await close();
});

test("the fleet table has a row for each replica and a total", async () => {
  const { page, errors, close } = await view(one);
  await page.waitForFunction(() => document.querySelectorAll("#fleet tbody tr").length === 2, null, { timeout: WAIT_TIMEOUT });
  const cells = (selector) => page.locator(selector).evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
  // Rates need two reports of a replica.
  await page.waitForFunction(() => Number(document.querySelector("#fleet tr.chosen").children[5].textContent) > 1, null, { timeout: WAIT_TIMEOUT });
  await waitForText(page, "#fleet tfoot", "2 of 2 serving");
  const [own] = (await cells("#fleet tbody tr")).filter(([id]) => id.includes("this one"));
  assert.equal(own[1], "serving");
  assert.match(own[2], /^\d+\.\d+\.\d+$/);
  assert.match(own[6], /%$/);
  const [sum] = await cells("#fleet tfoot tr");
  assert.deepEqual([sum[0], sum[1], sum[2]], ["fleet", "2 of 2 serving", own[2]]);
  assert.ok(Number(sum[5]) >= 1, sum.join("|"));
  await picture(page, "fleet");
  assert.deepEqual(errors, []);
  await close();
});

test("a silent replica is shown as not heard and is not counted", async () => {
  const replica = (id, more = {}) => ({
    id, version: "1.2.3", own: false, heard: true, age: 1.2, state: "serving", started: Date.now() - 90_000, proof_age: 0.4,
    gets: { l1: 90, l2: 10, stale: 0, miss: 0 }, writes: 5, l1: { entries: 1000, bytes: 1 << 20, limit: 8 << 20 }, lag_p99: 800, ...more,
  });
  const fleet = [
    replica("r1", { own: true }), replica("r2", { state: "drained", version: "1.2.4", proof_age: 1.9, lag_p99: 4000 }), replica("r3", { heard: false, age: 75, gets: null, writes: null }),
  ];
  const { page, errors, close } = await view(one, DESK, await withHello(one, { fleet }));
  await waitForText(page, "#fleet-note", "3 replicas, 1 silent");
  const row = (id) => page.locator(`#fleet tr[data-key="${id}"] > *`).allTextContents();
  assert.deepEqual((await row("r3")).slice(1, 7), ["not heard", "1.2.3", "–", "1\u00a0min 15\u00a0s ago", "–", "–"]);
  assert.equal((await row("r2"))[1], "drained");
  assert.deepEqual((await row("fleet")).slice(1, 8), ["1 of 3 serving", "2 versions", "", "", "210", "100\u202f%", "2\u202f000"]);
  assert.deepEqual((await row("fleet")).slice(9), ["4.0\u00a0ms", "1.9\u00a0s"]);
  await picture(page, "fleet-silent");
  assert.deepEqual(errors, []);
  await close();
});

test("a table that overflows is marked and can be scrolled by keyboard", async () => {
  const { page, close } = await view(one, PHONE);
  await page.waitForFunction(() => document.querySelectorAll("#namespaces tbody tr").length > 0, null, { timeout: WAIT_TIMEOUT });
  const area = page.getByRole("region", { name: "Namespaces" });
  const more = () => area.evaluate((area) => area.parentElement.dataset.more);
  await waitUntil("the overflow is marked", async () => (await more()) === "right");
  const shade = () => area.evaluate((area) => getComputedStyle(area.parentElement, "::after").opacity);
  await waitUntil("the edge is shaded", async () => (await shade()) === "1");
  assert.equal(await area.evaluate((area) => getComputedStyle(area.parentElement.querySelector(".hint")).visibility), "visible");
  await area.focus();
  assert.ok(await area.evaluate((area) => area === document.activeElement));
  await page.keyboard.press("ArrowRight");
  await waitUntil("the table scrolls", async () => (await more()).includes("left"));
  // The first column stays visible.
  const name = page.locator("#namespaces tbody th").first();
  assert.ok((await name.boundingBox()).x >= 0);
  await area.evaluate((area) => { area.scrollLeft = area.scrollWidth; });
  await waitUntil("the end is reached", async () => (await more()) === "left");
  await close();
  const wide = await view(one);
  await wide.page.waitForFunction(() => document.querySelectorAll("#namespaces tbody tr").length > 0, null, { timeout: WAIT_TIMEOUT });
  assert.equal(await wide.page.getByRole("region", { name: "Namespaces" }).getAttribute("tabindex"), null);
  await wide.close();
});

test("the layout is stable while values change", async () => {
  const hello = await withHello(one, { findings: [] });
  const scene = (n) => {
    const gets = { l1: 9 * n, l2: n, stale: 0, miss: n / 3 };
    const { now } = hello;
    return {
      ...now, gets, total: { ...now.total, sets_stored: n, invalidations: n / 7 }, latency: { p50: n * 3, p99: n * 11 },
      load: { ...now.load, in_flight: n, connections: n * 2 }, l1: { ...now.l1, entries: n * 100, bytes: n * 5000 },
      redis: { ...now.redis, p99: n * 17, round_trip: n * 5 }, audit: { checked: n * 10, violations: 0 },
      namespaces: [namespace("users", n, { sets_stored: n, entries: n * 7, bytes: n * 900 }), namespace("zones", n / 2)], namespaces_known: 2,
      fleet: [{ ...now.fleet[0], id: "r1", own: true, heard: true, state: "serving", gets, writes: n, lag_p99: n * 3, proof_age: n / 1e6 }],
      point: hello.fields.map((field) => (field === "t" ? Date.now() : n)),
    };
  };
  for (const width of [360, 800, 1360]) {
    const context = await browser.newContext({ viewport: { width, height: 900 } });
    const page = await context.newPage();
    await page.addInitScript(() => {
      const heard = {};
      window.EventSource = class { readyState = 1; addEventListener(name, take) { heard[name] = take; } close() {} };
      window.EventSource.OPEN = 1;
      window.say = (name, data) => heard[name]({ data: JSON.stringify(data) });
    });
    await page.goto(one.page);
    await page.evaluate((hello) => window.say("hello", hello), { ...hello, now: scene(1) });
    const boxes = () => page.evaluate(async () => {
      await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
      const parts = document.querySelectorAll("main > *, article, figure, figure svg, thead th, .bar, .split");
      return [...parts].map((part, i) => {
        const { x, y, width, height } = part.getBoundingClientRect();
        return `${i} ${part.nodeName} ${part.parentElement.id || part.id} ${[x, y, width, height].map(Math.round)}`;
      });
    });
    const before = await boxes();
    for (const n of [12, 345, 6789, 98_765]) {
      await page.evaluate((now) => window.say("tick", now), scene(n));
      assert.deepEqual(await boxes(), before, `at ${width} with ${n}`);
    }
    await context.close();
  }
});

test("the dashboard fits a phone", async () => {
  const { page, errors, close } = await view(one, PHONE);
  await page.waitForFunction(() => document.querySelectorAll("#namespaces tbody tr").length > 0, null, { timeout: WAIT_TIMEOUT });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  await picture(page, "phone");
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(page, "phone-dark");
  assert.deepEqual(errors, []);
  await close();
});

test("a namespace is selected by keyboard and names are shown as plain text", async () => {
  const [name, key] = ["searches", "<img src=x onerror=alert(1)>"];
  const busy = load(other, 50, (client, n) => (n ? client.get(name, key) : client.set(name, key, "v")));
  const { page, errors, close } = await view(other);
  const button = page.getByRole("button", { name, exact: true });
  await button.waitFor({ timeout: WAIT_TIMEOUT });
  await button.focus();
  await page.keyboard.press("Enter");
  await waitForText(page, "#scope", `namespace ${name}`);
  assert.equal(await button.getAttribute("aria-pressed"), "true");
  await page.focus("#chart-traffic");
  await page.keyboard.press("ArrowLeft");
  await waitForText(page, "#scope", " at ");
  await page.keyboard.press("Escape");
  await page.click("#scope-all");
  await waitForText(page, "#scope", "All namespaces");
  await waitForText(page, "#hot", key);
  assert.equal(await page.locator("#hot img").count(), 0);
  busy.end();
  assert.deepEqual(errors, []);
  await close();
});

test("a namespace may have the name of an object property", async () => {
  const { page, errors, close } = await view(other);
  const button = page.getByRole("button", { name: "constructor", exact: true });
  assert.equal(await button.count(), 0);
  const busy = load(other, 50, (client, n) => (n ? client.get("constructor", "k") : client.set("constructor", "k", "v")));
  await button.waitFor({ timeout: WAIT_TIMEOUT });
  const line = () => page.locator("#namespaces tr", { has: button }).locator(".spark path").first().getAttribute("d");
  const before = await line();
  await waitUntil("the sparkline changes", async () => (await line()) !== before);
  await button.click();
  await waitForText(page, "#scope", "namespace constructor");
  assert.equal(await page.evaluate(() => document.body.dataset.state), "live");
  busy.end();
  assert.deepEqual(errors, []);
  await close();
});

test("a hot key and a stampede are reported", async () => {
  const { page, close } = await view(one);
  const hot = load(one, 400, (client, n) => (n ? client.get("prices", "usd") : client.set("prices", "usd", "1")));
  await waitForText(page, "#findings", "One key takes a large part of the traffic");
  await picture(page, "hot-key");
  hot.end();
  const herd = load(one, 60, (client, n) => client.get("users", `profile:${Math.floor(n / 100)}`, { lease: true }));
  await waitForText(page, "#findings", "A stampede, held back by leases");
  await picture(page, "stampede");
  herd.end();
  await waitForNoText(page, "#findings", "A stampede");
  await close();
});

test("a thrashing namespace is reported by name", async () => {
  const { page, close } = await view(one);
  const value = Buffer.alloc(80_000, "x");
  const thrash = load(one, 150, (client, n) => (n % 3 ? client.set("reports", `r${n}`, value) : client.get("reports", `r${n - 1000}`)));
  await waitForText(page, "#findings", "Namespace reports is thrashing");
  await picture(page, "thrashing");
  thrash.end();
  await close();
});

test("a slow Redis is reported", async () => {
  const { page, close } = await view(one);
  proxy.delay = 150;
  await waitForText(page, "#findings", "Redis is slow");
  await waitForText(page, "#findings", "p99 of its answers");
  assert.equal(await page.getAttribute("#findings a", "href"), "https://github.com/twintier/twintier/blob/main/docs/runbooks.md#twintierredisslow");
  await picture(page, "redis-slow");
  proxy.delay = 0;
  await close();
});

test("a broken subscription is reported by both replicas", async () => {
  const [here, elsewhere] = [await view(one), await view(other)];
  proxy.deaf = true;
  await waitForText(here.page, "#findings", "This replica's subscription is broken");
  const id = await here.page.textContent("#replica");
  await waitForText(elsewhere.page, "#findings", `The subscription of replica ${id} is broken`);
  await picture(here.page, "subscription");
  await picture(elsewhere.page, "subscription-elsewhere");
  proxy.deaf = false;
  await waitForNoText(here.page, "#findings", "subscription is broken");
  await Promise.all([here.close(), elsewhere.close()]);
});

test("the dashboard reports the loss and return of Redis", async () => {
  const { page, errors, close } = await view(one);
  await redis.kill();
  await waitForText(page, "#headline", "Redis is gone");
  assert.equal(await page.getAttribute("#verdict", "data-level"), "critical");
  assert.equal(await page.textContent("#redis-state"), "gone");
  await picture(page, "redis-gone");
  await redis.restart();
  await waitForText(page, "#redis-state", "healthy");
  await waitForNoText(page, "#findings", "Redis is gone");
  assert.equal(await page.evaluate(() => document.body.dataset.state), "live");
  assert.deepEqual(errors, []);
  await close();
});

test("the dashboard shows since when it is disconnected and reconnects", async () => {
  const { page, close } = await view(other);
  const before = await page.textContent("#replica");
  const beside = await view(one);
  await beside.page.locator(`#fleet tr[data-key="${before}"]`).waitFor({ timeout: WAIT_TIMEOUT });
  await other.end();
  await waitForText(page, "#live", "disconnected since");
  await waitForText(page, "#headline", "Disconnected from the service");
  await picture(page, "disconnected");
  await waitForText(beside.page, `#fleet tr[data-key="${before}"]`, "not heard");
  await picture(beside.page, "not-heard");
  await beside.close();
  await other.restart();
  await page.waitForFunction(() => document.body.dataset.state === "live", null, { timeout: WAIT_TIMEOUT });
  assert.notEqual(await page.textContent("#replica"), before);
  const client = new Client(other.address);
  await client.set("users", "k", "v");
  client.close();
  await waitForText(page, "#namespaces tbody", "users");
  await close();
});
