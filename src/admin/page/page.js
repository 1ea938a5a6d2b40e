// The dashboard: reads /events and shows them. Texts of callers (namespaces, keys) are only ever
// set as text.

import { Chart, spark, svg } from "./charts.js";
import { byId, fillCells, fillMeter, keyed, meterRow, put, row, say } from "./dom.js";
import { drawFleet } from "./fleet.js";
import { all, clock, count, hitRate, hitShare, lasting, percent, rate, seconds, share, size, sized, time, took } from "./numbers.js";

const POINTS = 300;
/// Time without calls after which a namespace is idle.
const IDLE = 60_000;

// === what is known ===

let replica = null;
let fields = [];
let rows = [];
// Keyed by names that callers chose: `constructor` is an ordinary one.
let series = Object.create(null);
let now = null;
let heard = 0;
let lostAt = null;
let scope = null;
let cursor = null;
let idleShown = false;
/// Time of the last call of a namespace, by its name.
const called = new Map();

const pointOf = (values) => Object.fromEntries(fields.map((field, i) => [field, values[i]]));

const hello = (said) => {
  ({ replica, fields } = said);
  rows = said.points.map(pointOf);
  series = Object.assign(Object.create(null), said.namespaces);
  now = said.now;
  say("replica", replica.id);
  say("version", replica.version);
  say("hot-note", said.keys === "clear" ? "about the last half minute" : "hashed as in the log; twintier hot-keys names them");
  called.clear();
  render();
};

const tick = (said) => {
  now = said;
  rows.push(pointOf(said.point));
  if (rows.length > POINTS) rows.splice(0, rows.length - POINTS);
  const present = new Set();
  for (const { name, gets } of said.namespaces) {
    if (name === "") continue;
    present.add(name);
    series[name] ??= [];
    series[name].push([gets.l1, gets.l2, gets.stale, gets.miss]);
    if (series[name].length > POINTS) series[name].shift();
  }
  for (const name of Object.keys(series)) if (!present.has(name)) delete series[name];
  if (cursor !== null) cursor = Math.max(0, rows.length < POINTS ? cursor : cursor - 1);
  render();
};

// === charts ===

const at = (field) => (row) => row[field];
const scoped = (index, field) => (row) => (scope === null ? row[field] : row.scoped?.[index] ?? 0);
const OUTCOMES = [["L1", "l1"], ["L2", "l2"], ["stale", "stale"], ["miss", "miss"]];
const parts = (of) => OUTCOMES.map(([name, look], i) => ({ name, look, value: of(i, look) }));
const outcomeOf = (row, index) => scoped(index, OUTCOMES[index][1])(row);
const whole = (row) => OUTCOMES.reduce((sum, _, i) => sum + outcomeOf(row, i), 0);

const charts = [
  ["chart-traffic", { title: "Gets a second, by answer", kind: "stack", least: 10, format: rate, series: parts((i, field) => scoped(i, field)) }],
  ["chart-hits", {
    title: "Share of Gets, by answer", kind: "stack", top: 1, format: (value) => `${percent(value)}\u202f%`,
    series: parts((i) => (row) => (whole(row) > 0 ? outcomeOf(row, i) / whole(row) : null)),
  }],
  ["chart-latency", {
    title: "Get latency by tier, p50 · p99", kind: "lines", log: true, floor: 1, least: 1000, format: time,
    series: [
      { look: "l1 faint", value: at("l1_p50") }, { name: "L1", look: "l1", value: at("l1_p99"), say: (p99, row) => `${time(row.l1_p50)} · ${time(p99)}` },
      { look: "deep faint", value: at("l2_p50") }, { name: "L2", look: "deep", value: at("l2_p99"), say: (p99, row) => `${time(row.l2_p50)} · ${time(p99)}` },
      { name: "miss", look: "miss dashed", value: at("miss_p99") },
    ],
  }],
  ["chart-redis", {
    title: "Redis p99 and the oldest proof", kind: "lines", log: true, floor: 100, least: 1e6, format: time,
    series: [
      { name: "Redis", look: "deep", value: at("redis_p99") },
      { name: "proof", look: "stale", value: (row) => (row.proof_age === null || now?.redis.state === "disabled" ? null : row.proof_age * 1e6) },
      { name: "bound", look: "bound dashed", value: () => (now && now.redis.state !== "disabled" ? now.coherence.bound * 1e6 : null) },
    ],
  }],
  ["chart-writes", {
    title: "Writes, messages and waiting Gets a second", kind: "lines", least: 10, format: rate,
    series: [
      { name: "Sets", look: "l1", value: at("sets") }, { name: "Invalid.", look: "miss", value: at("invalidations") },
      { name: "bus", look: "stale dashed", value: at("messages") },
      { name: "waiting", look: "deep dotted", value: (row) => row.coalesced + row.waited },
    ],
  }],
  ["chart-memory", {
    title: "Entries leaving memory a second", kind: "lines", least: 10, format: rate,
    series: [{ name: "evicted for room", look: "miss", value: at("evicted") }, { name: "expired", look: "l1 dashed", value: at("expired") }],
  }],
].map(([id, options]) => new Chart(byId(id), options));

const drawCharts = () => {
  const own = scope === null ? null : series[scope];
  const shift = own ? rows.length - own.length : 0;
  const drawn = own ? rows.map((row, i) => ({ ...row, scoped: own[i - shift] })) : rows;
  charts.forEach((chart) => chart.draw(drawn, cursor));
  const when = cursor !== null && rows[cursor] ? ` at ${clock(new Date(rows[cursor].t))}` : "";
  say("scope", (scope === null ? "All namespaces" : `Gets of namespace ${scope}`) + when);
  byId("scope-all").hidden = scope === null;
};

const point = (row) => {
  cursor = row;
  drawCharts();
};
charts.forEach((chart) => {
  chart.figure.addEventListener("pointermove", (event) => point(chart.rowAt(event.clientX)));
  chart.figure.addEventListener("pointerleave", () => point(null));
  chart.figure.addEventListener("blur", () => point(null));
  chart.figure.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -5, ArrowRight: 5 }[event.key];
    if (event.key === "Escape") point(null);
    if (!step || !rows.length) return;
    event.preventDefault();
    point(Math.min(rows.length - 1, Math.max(0, (cursor ?? rows.length - 1) + step)));
  });
});
byId("scope-all").addEventListener("click", () => select(null));
new ResizeObserver(() => drawCharts()).observe(byId("main"));

const select = (name) => {
  scope = name === scope ? null : name;
  render();
};

// === verdict ===

const MARKS = { well: "✓", notice: "i", warning: "!", critical: "×", lost: "?" };

const drawVerdict = () => {
  const found = now.findings;
  const level = found[0]?.level ?? "well";
  const others = found.length - 1;
  verdict(level, found.length ? found[0].title + (others > 0 ? `, and ${others} more` : "") : "All is well", summary(found));
  keyed(byId("findings"), found, ({ kind }) => kind, findingItem, fillFinding);
  [...byId("findings").children].forEach((item, i) => { if (i === 0) item.firstChild.open = true; });
};

const verdict = (level, headline, text) => {
  byId("verdict").dataset.level = level;
  say("mark", MARKS[level]);
  say("headline", headline);
  say("summary", text);
  document.title = level === "well" ? "twintier" : `${MARKS[level]} ${headline} – twintier`;
};

const summary = (found) => {
  const { coherence, redis, gets } = now;
  if (found.length) return "";
  const traffic = all(gets) > 0 ? `${percent(share(gets.l1, all(gets)))}\u202f% of ${rate(all(gets))} Gets a second are answered from memory. ` : "No Gets lately. ";
  if (redis.state === "disabled") return `${traffic}This replica runs alone on its memory: no Redis is configured.`;
  return `${traffic}Redis answers, and every partition was proven current at most ${seconds(coherence.proof_age)} ago; ${seconds(coherence.bound)} are allowed.`;
};

/// The worst is open, the others are collapsed to a line each.
const findingItem = () => {
  const item = document.createElement("li");
  const details = document.createElement("details");
  const line = document.createElement("summary");
  for (const name of ["title", "brief"]) line.append(Object.assign(document.createElement("span"), { className: name }));
  details.append(line);
  for (const name of ["meaning", "evidence", "action"]) details.append(Object.assign(document.createElement("p"), { className: name }));
  item.append(details);
  return item;
};

const fillFinding = (item, finding) => {
  item.dataset.level = finding.level;
  const [line, meaning, evidence, action] = item.firstChild.children;
  put(line.firstChild, finding.title);
  put(line.lastChild, finding.evidence);
  put(meaning, finding.meaning);
  put(evidence, finding.evidence);
  const text = `${finding.action} `;
  if (action.dataset.text === text + finding.runbook_url) return;
  action.dataset.text = text + finding.runbook_url;
  // Text between backticks is shown as code.
  action.replaceChildren(...text.split("`").map((part, odd) => (odd % 2 ? code(part) : part)), link("Runbook ↗", finding.runbook_url));
};

/// Link to another site, without a referrer.
const link = (text, href) => Object.assign(document.createElement("a"), { textContent: text, href, target: "_blank", rel: "noopener noreferrer", className: "runbook" });

const code = (text) => {
  const element = document.createElement("code");
  element.textContent = text;
  return element;
};

// === tiles ===

const meter = (id, part, level) => {
  const bar = byId(id);
  bar.firstElementChild.style.width = `${Math.min(100, part * 100)}%`;
  bar.dataset.level = level;
};

const pair = (id, [value, unit]) => {
  say(id, value);
  say(`${id}-unit`, unit);
};

const drawTiles = () => {
  const { gets, load, l1, redis, coherence, audit, latency } = now;
  const total = all(gets);
  say("requests", rate(total + now.total.sets_stored + now.total.invalidations));
  say("requests-fine", `${rate(total)}\u00a0Gets · ${rate(now.total.sets_stored)}\u00a0Sets · ${rate(now.total.invalidations)}\u00a0Inv.`);
  say("hits", total > 0 ? percent(hitShare(gets)) : "–");
  split(byId("split"), gets);
  if (latency.p99 === null) pair("p99", ["–", ""]); else pair("p99", took(latency.p99));
  say("p50", latency.p99 === null ? "no Gets lately" : `p99 · p50 ${time(latency.p50)}`);
  pair("memory", sized(l1.bytes));
  const full = share(l1.bytes, l1.limit);
  meter("memory-bar", full, full > 0.9 ? "notice" : "well");
  say("memory-fine", `${percent(full)}\u202f% of ${size(l1.limit)} · ${count(l1.entries)}\u00a0entries`);
  drawRedisTile(redis);
  drawProofTile(redis, coherence);
  say("in-flight", count(load.in_flight));
  say("connections", `of ${count(load.limit)} · ${count(load.connections)}\u00a0conn.${load.watchers ? ` · ${count(load.watchers)}\u00a0watches` : ""}`);
  say("violations", count(audit.violations));
  byId("violations").dataset.level = audit.violations ? "critical" : "well";
  say("audit", audit.checked ? `${count(audit.checked)} hits were checked` : "none checked yet");
  say("uptime", lasting((Date.now() - replica.started) / 1000));
};

const drawRedisTile = (redis) => {
  const level = { healthy: "well", degraded: "warning", unavailable: "critical", disabled: "well" }[redis.state];
  say("redis-state", { healthy: "healthy", degraded: "degraded", unavailable: "gone", disabled: "none" }[redis.state]);
  byId("redis-state").dataset.level = level;
  const trip = redis.round_trip === null ? "" : `round trip ${time(redis.round_trip)}`;
  const usual = redis.p99 === null ? trip : `p99 ${time(redis.p99)} · ${trip}`;
  say("redis-fine", { healthy: usual, disabled: "memory only", degraded: "no messages", unavailable: `for ${lasting(redis.state_age)}` }[redis.state]);
};

const drawProofTile = (redis, coherence) => {
  if (redis.state === "disabled") {
    pair("proof", ["–", ""]);
    say("proof-fine", "no other writers");
    return meter("proof-bar", 0, "well");
  }
  const age = coherence.proof_age;
  pair("proof", age === null ? ["none", ""] : took(age * 1e6));
  const part = age === null ? 1 : age / coherence.bound;
  meter("proof-bar", part, part > 1 || age === null ? "critical" : part > 0.75 ? "notice" : "well");
  say("proof-fine", `${seconds(coherence.bound)} allowed · ${coherence.proven}/${coherence.partitions} proven`);
};

/// Bar of the four results.
const split = (bar, gets) => {
  const total = all(gets);
  if (bar.children.length === 0) OUTCOMES.forEach(([, look]) => { bar.append(document.createElement("i")); bar.lastChild.className = look; });
  OUTCOMES.forEach(([, look], i) => { bar.children[i].style.width = `${share(gets[look], total) * 100}%`; });
  const words = OUTCOMES.map(([name, look]) => `${name} ${percent(share(gets[look], total))}\u202f%`).join(", ");
  bar.setAttribute("aria-label", total > 0 ? words : "no Gets lately");
  bar.title = total > 0 ? words : "";
};

// === tables ===

const NAMESPACE_CELLS = ["name", "trend", "number", "number", "mix", "number", "number", "number", "number", "number redis", "number redis", "number", "number"];

/// Marks an estimate as such; empty if unknown.
const about = (value, show) => (value === null || value === undefined ? "–" : `~\u202f${show(value)}`);

const isCalled = (it) => {
  const lately = series[it.name]?.slice(-IDLE / 1000).some((point) => point.some((part) => part > 0));
  if (all(it.gets) + it.sets_stored + it.invalidations > 0 || (lately && !called.has(it.name))) called.set(it.name, Date.now());
  return Date.now() - (called.get(it.name) ?? 0) < IDLE || it.name === scope;
};

/// Rows of the table: the active namespaces, then one for all others.
const namespaceRows = () => {
  const { namespaces, namespaces_known: known } = now;
  const [busy, idle] = [[], []];
  for (const it of namespaces) (isCalled(it) ? busy : idle).push(it);
  if (!idle.length) return busy;
  const unnamed = known - namespaces.filter(({ name }) => name !== "").length;
  const number = idle.reduce((sum, { name }) => sum + (name === "" ? unnamed : 1), 0);
  const sum = (field) => (idle.some((it) => it[field] == null) ? null : idle.reduce((sum, it) => sum + it[field], 0));
  const fold = { folds: number, entries: sum("entries"), bytes: sum("bytes"), redis_keys: sum("redis_keys"), redis_bytes: sum("redis_bytes") };
  return [...busy, fold, ...(idleShown ? idle : [])];
};

const foldRow = () => {
  const element = row(NAMESPACE_CELLS);
  element.className = "fold";
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", () => { idleShown = !idleShown; render(); });
  element.children[0].append(button);
  return element;
};

const fillFold = (element, it) => {
  const button = element.children[0].firstChild;
  button.setAttribute("aria-expanded", String(idleShown));
  put(button, `${idleShown ? "▾" : "▸"}\u00a0${count(it.folds)} idle namespace${it.folds === 1 ? "" : "s"}`);
  fillCells(element, 7, [count(it.entries), size(it.bytes), about(it.redis_keys, count), about(it.redis_bytes, size)]);
};

const namespaceRow = ({ name, folds }) => {
  if (folds !== undefined) return foldRow();
  const element = row(NAMESPACE_CELLS);
  if (name !== "") {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.title = "show only its Gets in the charts";
    button.addEventListener("click", () => select(name));
    element.children[0].append(button);
    element.children[1].append(svg("svg", { width: 96, height: 20, class: "spark", "aria-hidden": "true" }));
  } else {
    element.children[0].textContent = "all others";
  }
  const bar = document.createElement("div");
  bar.className = "split";
  bar.setAttribute("role", "img");
  element.children[4].append(bar);
  return element;
};

const fillNamespace = (element, it) => {
  if (it.folds !== undefined) return fillFold(element, it);
  const total = all(it.gets);
  element.classList.toggle("chosen", scope !== null && scope === it.name);
  element.querySelector("button")?.setAttribute("aria-pressed", String(scope === it.name));
  if (it.name !== "") spark(element.children[1].firstChild, (series[it.name] ?? []).map((point) => point[0] + point[1] + point[2] + point[3]));
  fillCells(element, 2, [rate(total), total > 0 ? hitRate(it.gets) : "–"]);
  split(element.children[4].firstChild, it.gets);
  const refused = it.throttled + it.over_byte_rate + it.over_in_flight + it.over_leases + it.over_l2_bytes + it.over_quota + it.write_errors;
  fillCells(element, 5, [
    rate(it.sets_stored), rate(it.invalidations), count(it.entries), size(it.bytes), about(it.redis_keys, count), about(it.redis_bytes, size), rate(it.evicted_size), rate(refused),
  ]);
  element.children[12].title = `throttled ${rate(it.throttled)}, over max_bytes_per_second ${rate(it.over_byte_rate)}, max_in_flight ${rate(it.over_in_flight)}, max_leases ${rate(it.over_leases)}, max_l2_bytes ${rate(it.over_l2_bytes)}, over quota ${rate(it.over_quota)}, failed writes ${rate(it.write_errors)} a second`;
  element.children[12].classList.toggle("raised", refused > 0);
};

const fillHot = (element, it) => {
  // The rate of the last half minute, compared with the Gets of the same time.
  const lately = rows.slice(-30);
  const gets = lately.reduce((sum, row) => sum + row.l1 + row.l2 + row.stale + row.miss, 0) / Math.max(1, lately.length);
  const part = share(it.rate, Math.max(gets, it.rate));
  fillCells(element, 0, [it.key, it.namespace, rate(it.rate)]);
  element.firstChild.title = it.key;
  fillMeter(element.lastChild, part, `${percent(part)}\u202f%`, part >= 0.25 && it.rate >= 100 ? "notice" : "well");
};

const drawTables = () => {
  const { namespaces, hot } = now;
  if (scope !== null && !namespaces.some(({ name }) => name === scope)) scope = null;
  keyed(byId("namespaces").tBodies[0], namespaceRows(), ({ name, folds }) => (folds === undefined ? `n${name}` : "fold"), namespaceRow, fillNamespace);
  byId("namespaces").classList.toggle("without-redis", !namespaces.some((it) => it.redis_keys != null || it.redis_bytes != null));
  byId("namespaces-empty").hidden = namespaces.length > 0;
  say("namespaces-note", namespaces.length ? `${count(now.namespaces_known)} in use, the busiest first` : "");
  drawFleet(now);
  keyed(byId("hot").tBodies[0], hot, (it) => `${it.namespace}\n${it.key}`, meterRow(["name mono", "", "number", "meter"]), fillHot);
  byId("hot-empty").hidden = hot.length > 0;
};

/// Marks the sides on which a table can be scrolled, also for the keyboard.
for (const area of document.querySelectorAll(".scroll")) {
  const look = () => {
    const rest = area.scrollWidth - area.clientWidth;
    const more = [area.scrollLeft > 1 && "left", rest - area.scrollLeft > 1 && "right"].filter(Boolean).join(" ");
    if (area.parentElement.dataset.more !== more) area.parentElement.dataset.more = more;
    if (rest > 1) area.tabIndex = 0; else area.removeAttribute("tabindex");
  };
  area.addEventListener("scroll", look, { passive: true });
  const observer = new ResizeObserver(look);
  observer.observe(area);
  observer.observe(area.firstElementChild);
}

// === facts ===

const facts = (id, pairs) => {
  const make = () => {
    const element = document.createElement("div");
    element.append(document.createElement("dt"), document.createElement("dd"));
    return element;
  };
  keyed(byId(id), pairs, ([name]) => name, make, (element, [name, text, level]) => {
    put(element.firstChild, name);
    put(element.lastChild, text);
    element.lastChild.dataset.level = level ?? "";
  });
};

const raised = (number, level = "notice") => (number > 0 ? level : "");

const drawFacts = () => {
  const { redis, coherence, leases } = now;
  say("redis-since", redis.state === "disabled" ? "" : `${redis.state} for ${lasting(redis.state_age)}`);
  facts("redis", redis.state === "disabled" ? [["configured", "no: entries live in this replica's memory only"]] : [
    ...(redis.reason ? [["because", redis.reason, "warning"]] : []),
    ...redis.warnings.map((warning, i) => [`warning${redis.warnings.length > 1 ? ` ${i + 1}` : ""}`, warning, "notice"]),
    ["server", redis.version || "–"],
    ["memory", redis.memory === null ? "not known while Redis cannot be asked" : `${size(redis.memory)}${redis.limit ? ` of ${size(redis.limit)}` : ", no limit"} · peak ${size(redis.peak)}`],
    ["keys", redis.keys === null ? "–" : `${count(redis.keys)} · ${count(redis.evicted)} evicted`],
    ["policy", redis.policy || "–"],
    ["commands", `${rate(redis.commands)}/s · ${rate(redis.errors_rate)}/s failed`, raised(redis.errors_rate)],
    ["failed, reconnects", `${count(redis.errors)} · ${count(redis.reconnects)} since the start`],
  ]);
  facts("coherence", [
    ["messages applied", `${count(coherence.messages_applied)} · own ${count(coherence.messages_own)}`],
    ["lag p99", time(coherence.lag_p99)],
    ["gaps", count(coherence.gaps), raised(coherence.gaps)],
    ["partitions set back", count(coherence.bumps)],
    ["disconnects", count(coherence.disconnects), raised(coherence.disconnects)],
    ["overruns, unreadable", `${count(coherence.lagged)} · ${count(coherence.undecodable)}`, raised(coherence.lagged + coherence.undecodable)],
    ["fills fenced off", count(coherence.fills_fenced)],
    ["sets fenced off", count(coherence.sets_fenced)],
    ["failovers", coherence.failovers ? `${count(coherence.failovers)} partition${coherence.failovers === 1 ? "" : "s"} · ${count(coherence.repaired)} repaired` : "0", raised(coherence.failovers)],
  ]);
  facts("leases", [
    ["joined another's fetch", `${rate(now.total.coalesced)}/s`],
    ["waited for a lease", `${rate(leases.waited)}/s`],
    ["waiting now", count(leases.waiting), raised(leases.waiting - 19, "warning")],
    ["granted", `${count(leases.granted)} · alone ${count(leases.granted_alone)}`],
    ["filled", count(leases.filled)],
    ["void, released", `${count(leases.voided)} · ${count(leases.released)}`],
    ["waits that were served", count(leases.served)],
  ]);
};

const render = () => {
  if (now === null) return;
  drawVerdict();
  drawTiles();
  drawTables();
  drawFacts();
  drawCharts();
};

// === the connection ===

const live = (text, state) => {
  say("live", text);
  byId("live").dataset.state = state;
  document.body.dataset.state = state;
};

const lost = () => {
  lostAt ??= new Date(heard || Date.now());
  const since = `since ${clock(lostAt)}`;
  live(`disconnected ${since}`, "lost");
  if (now !== null) {
    verdict("lost", "Disconnected from the service", `The service is unreachable ${since}; the numbers below are from then. Reconnecting every few seconds.`);
    byId("findings").replaceChildren();
  } else {
    verdict("lost", "The service is unreachable", "Reconnecting every few seconds.");
  }
};

let source = null;
const connect = () => {
  source?.close();
  source = new EventSource("events");
  const take = (handle) => (event) => {
    heard = Date.now();
    lostAt = null;
    live("live", "live");
    handle(JSON.parse(event.data));
  };
  source.addEventListener("hello", take(hello));
  source.addEventListener("tick", take(tick));
  source.addEventListener("error", () => {
    source.close();
    setTimeout(connect, heard && Date.now() - heard < 3000 ? 300 : 2000);
  });
};
// Streams end after a time and are reopened at once, without notice.
setInterval(() => {
  if (Date.now() - heard > 4000 && (heard > 0 || now === null)) lost();
  if (heard > 0 && Date.now() - heard > 10_000 && source.readyState === EventSource.OPEN) connect();
}, 500);

// === colours ===

const THEMES = { auto: "◐ auto", light: "○ light", dark: "● dark" };
let theme = "auto";
try { theme = localStorage.getItem("theme") ?? "auto"; } catch { /* a browser that keeps nothing */ }
const paint = () => {
  if (!(theme in THEMES)) theme = "auto";
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = THEMES[theme];
  byId("theme").setAttribute("aria-label", `Colours: ${theme === "auto" ? "system" : theme}`);
};
byId("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  theme = names[(names.indexOf(theme) + 1) % names.length];
  try { localStorage.setItem("theme", theme); } catch { /* as above */ }
  paint();
});

paint();
connect();
