// Whether every part answers, and what the gateway counted since it started.

import { h } from "../dom.js";
import { badge, board, page, polled, table, tile } from "../parts.js";
import { ApiError } from "../session.js";
import { count, plain } from "../words.js";

export const TITLE = "Health";
export const SCOPES = [];

const EVERY_MS = 5000;

export function render({ signal }) {
  return page(TITLE, "Asked of the gateway every five seconds.",
    polled(async () => [parts(await ready()), counts(await metrics())], { signal, everyMs: EVERY_MS }));
}

async function fetched(path) {
  try {
    return await fetch(path);
  } catch {
    throw new ApiError(0, { detail: "the gateway cannot be reached" });
  }
}

async function ready() {
  return (await fetched("/readyz")).json();
}

function parts({ status, checks }) {
  const rows = Object.entries(checks ?? {}).map(([name, state]) => ({ name, state }));
  const away = rows.filter((row) => row.state !== "ok");
  return [
    h("div", { class: `notice ${away.length ? "bad" : "good"}`, role: "status" }, away.length
      ? [h("p", {}, `Not everything answers: ${away.map((row) => nameOf(row)).join(", ")} ${away.length === 1 ? "is" : "are"} away. Hooks spool or fall back as set; nothing that was accepted is lost.`), cause(rows, away)]
      : "Everything answers."),
    board("Parts", badge(status, status === "ready" ? "good" : "bad"), table("Parts", [
      { label: "Part", cell: nameOf },
      { label: "State", cell: (row) => badge(row.state, row.state === "ok" ? "good" : "bad") },
    ], rows)),
  ];
}

const nameOf = (row) => (row.name === "nats" ? "message bus" : row.name);

/** Where to look first, when more than one part is away. */
function cause(rows, away) {
  if (away.some((row) => row.name === "nats")) return h("p", {}, "Everything is asked over the message bus: look at nats-server first.");
  if (away.length > 1 && away.length === rows.length - 1) return h("p", {}, "The bus answers and all that stands on the database does not: look at PostgreSQL first.");
  return null;
}

/** Prometheus text as `{name: [{labels, value}]}`. */
async function metrics() {
  const found = new Map();
  for (const line of (await (await fetched("/metrics")).text()).split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
    if (!found.has(match[1])) found.set(match[1], []);
    found.get(match[1]).push({ labels, value: Number(match[3]) });
  }
  return found;
}

function counts(found) {
  const rows = (name) => found.get(name) ?? [];
  const total = (name, pick = () => true) => rows(name).filter(({ labels }) => pick(labels)).reduce((sum, one) => sum + one.value, 0);
  const started = found.get("process_start_time_seconds")?.[0]?.value;
  const decisions = rows("hookbus_decisions_total").filter((one) => one.value > 0).sort((one, other) => other.value - one.value);
  const requests = Map.groupBy(rows("hookbus_http_requests_total"), ({ labels }) => `${labels.method} ${labels.route}`);
  const routes = [...requests].map(([route, all]) => ({
    route, count: all.reduce((sum, one) => sum + one.value, 0),
    failed: all.filter(({ labels }) => labels.status >= "500").reduce((sum, one) => sum + one.value, 0),
    seconds: total("hookbus_http_request_seconds_sum", (labels) => `${labels.method} ${labels.route}` === route),
  })).sort((one, other) => other.count - one.count).slice(0, 15);
  return [
    h("div", { class: "tiles" },
      tile("Events stored", count(total("hookbus_events_accepted_total")), started ? `since ${new Date(started * 1000).toLocaleString("en-GB")}` : null),
      tile("Events refused", count(total("hookbus_events_rejected_total"))),
      tile("Denials", count(total("hookbus_decisions_total", (labels) => labels.decision === "deny"))),
      tile("Sign-ins and keys refused", count(total("hookbus_authentication_failures_total")))),
    decisions.length ? board("Decisions by outcome", null, table("Decisions", [
      { label: "Decision", cell: (row) => row.labels.decision }, { label: "Why", cell: (row) => plain(row.labels.code) }, { label: "Count", num: true, cell: (row) => count(row.value) },
    ], decisions)) : null,
    routes.length ? board("Requests by route", null, table("Requests", [
      { label: "Route", cell: (row) => h("code", {}, row.route) }, { label: "Count", num: true, cell: (row) => count(row.count) },
      { label: "Failed", num: true, cell: (row) => count(row.failed) }, { label: "Mean", num: true, cell: (row) => `${((1000 * row.seconds) / Math.max(1, row.count)).toFixed(1)} ms` },
    ], routes)) : null,
  ];
}
