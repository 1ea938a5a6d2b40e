// The table of the fleet: a row for each replica, and their sums.

import { addMeter, byId, fillCells, fillMeter, keyed, put, row, say } from "./dom.js";
import { all, count, hitRate, lasting, rate, seconds, share, size, time } from "./numbers.js";

const REPLICA_CELLS = ["name mono", "word", "word", "number", "number", "number", "number", "number", "meter", "number", "meter"];

const replicaRow = () => {
  const element = row(REPLICA_CELLS);
  for (const cell of element.querySelectorAll(".meter")) addMeter(cell);
  return element;
};

const stateOf = (it) => (!it.heard ? ["not heard", "critical"] : [it.state || "–", { serving: "well", starting: "notice", halted: "critical" }[it.state] ?? "warning"]);
const requests = (it) => (it.gets ? all(it.gets) + it.writes : 0);

const fillReplica = (now) => (element, it) => {
  const [state, level] = stateOf(it);
  const up = it.heard && it.started ? lasting((Date.now() - it.started) / 1000) : "–";
  const heard = it.own ? "now" : `${it.heard ? seconds(it.age) : lasting(it.age)} ago`;
  fillCells(element, 0, [it.id + (it.own ? " (this one)" : ""), state, it.version, up, heard]);
  fillCells(element, 5, it.gets ? [rate(requests(it)), all(it.gets) > 0 ? hitRate(it.gets) : "–"] : ["–", "–"]);
  element.children[1].dataset.level = level;
  element.classList.toggle("chosen", it.own);
  element.classList.toggle("silent", !it.heard);
  fillL1(element, it.heard ? it.l1 : null);
  put(element.children[9], it.heard ? time(it.lag_p99) : "–");
  fillProof(element.lastChild, it, now);
};

const fillL1 = (element, l1) => {
  put(element.children[7], l1 ? count(l1.entries) : "–");
  const full = l1 ? share(l1.bytes, l1.limit) : 0;
  fillMeter(element.children[8], full, l1 ? size(l1.bytes) : "–", full > 0.9 ? "notice" : "well");
};

const fillProof = (cell, it, now) => {
  if (!it.heard) return fillMeter(cell, 0, "–", "well");
  if (now.redis.state === "disabled") return fillMeter(cell, 0, "alone", "well");
  const part = it.proof_age === null ? 1 : it.proof_age / now.coherence.bound;
  const level = part >= 1 ? "critical" : part > 0.75 ? "notice" : "well";
  fillMeter(cell, part, seconds(it.proof_age) + (part >= 1 ? ", over" : ""), level);
};

/// Totals of the replicas that report: sums, and the worst lag and proof.
const fillWhole = (now) => (element, fleet) => {
  const heard = fleet.filter((it) => it.heard);
  const known = heard.filter((it) => it.gets);
  const add = (of) => known.reduce((sum, it) => sum + of(it), 0);
  const worst = (values) => values.reduce((worst, value) => (value === null ? worst : Math.max(worst ?? 0, value)), null);
  const gets = Object.fromEntries(["l1", "l2", "stale", "miss"].map((answer) => [answer, add((it) => it.gets[answer])]));
  const versions = new Set(heard.map((it) => it.version)).size;
  const serving = heard.filter((it) => it.state === "serving").length;
  fillCells(element, 0, ["fleet", `${serving} of ${fleet.length} serving`, versions > 1 ? `${versions} versions` : heard[0]?.version ?? "–", "", ""]);
  fillCells(element, 5, known.length ? [rate(add(requests)), all(gets) > 0 ? hitRate(gets) : "–"] : ["–", "–"]);
  const total = (field) => heard.reduce((sum, it) => sum + it.l1[field], 0);
  fillL1(element, { entries: total("entries"), bytes: total("bytes"), limit: total("limit") });
  put(element.children[9], time(worst(heard.map((it) => it.lag_p99))));
  const unproven = heard.some((it) => it.proof_age === null);
  fillProof(element.lastChild, { heard: heard.length > 0, proof_age: unproven ? null : worst(heard.map((it) => it.proof_age)) }, now);
};

const fleetNote = ({ fleet, redis }) => {
  const silent = fleet.filter((it) => !it.heard).length;
  if (fleet.length === 0) return "asking …";
  if (redis.state === "unavailable" && silent > 0) return "the others are heard by way of Redis, which is gone";
  const replicas = fleet.length === 1 ? "one replica" : `${fleet.length} replicas`;
  return silent ? `${replicas}, ${silent} silent` : `${replicas}, as reported within the last 10 s`;
};

/// Draws the fleet of `now`.
export const drawFleet = (now) => {
  const { fleet } = now;
  keyed(byId("fleet").tBodies[0], fleet, ({ id }) => id, replicaRow, fillReplica(now));
  keyed(byId("fleet").tFoot, fleet.length > 1 ? [fleet] : [], () => "fleet", replicaRow, fillWhole(now));
  say("fleet-note", fleetNote(now));
};
