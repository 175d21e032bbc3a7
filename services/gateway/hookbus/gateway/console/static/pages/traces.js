// One event's way through hookbus, as a list and as a waterfall.

import { get } from "../api.js";
import { h, link, pathOf } from "../dom.js";
import { badge, board, card, choice, decision, empty, facts, field, form, loading, page } from "../parts.js";
import { may } from "../session.js";
import { count, duration, moment, shortMoment } from "../words.js";
import { paged } from "./sessions.js";

export const TITLE = "Traces";
export const SCOPES = ["audit"];

const PAGE_ITEMS = 50;
const SEARCHED_ITEMS = 200;
const SEARCHED_PAGES_MAX = 5;
const INDENT_MAX = 12;

export function render(context) {
  return context.rest.length ? one(context.rest[0]) : list(context);
}

const COLUMNS = [
  { label: "Began", tight: true, cell: (row) => shortMoment(row.started_at) },
  { label: "Agent", cell: (row) => row.agent_id },
  { label: "Name", cell: (row) => link(pathOf("traces", row.trace_id), row.name) },
  { label: "Took", num: true, cell: (row) => duration(row.duration_us) },
  { label: "Steps", num: true, cell: (row) => count(row.spans) },
  { label: "Outcome", cell: (row) => (row.has_error ? badge("error", "bad") : row.decision ? decision(row.decision) : "") },
];

/** A page of traces; of agents' events alone where asked, for hookbus's own requests are many. */
async function load(wanted, everything, cursor) {
  const traces = [];
  let at = cursor;
  for (let number = 0; number < SEARCHED_PAGES_MAX; number += 1) {
    const reply = await get("traces", { ...wanted, cursor: at, limit: everything ? PAGE_ITEMS : SEARCHED_ITEMS });
    traces.push(...reply.traces.filter((row) => everything || row.agent_id));
    at = reply.cursor;
    if (!at || traces.length >= PAGE_ITEMS) break;
  }
  return { traces, cursor: at };
}

function list({ query, go }) {
  const wanted = { agent: query.get("agent") ?? "", status: query.get("status") ?? "", min_duration_ms: query.get("min_duration_ms") ?? "" };
  const everything = query.get("of") === "all";
  const narrow = form([
    field("agent", "Agent", { type: "search", value: wanted.agent, maxlength: 64, pattern: "[a-zA-Z0-9_\\-]*" }),
    choice("status", "Outcome", [["", "any"], ["ok", "no objection"], ["objection", "denied or asked"], ["error", "error"]], wanted.status),
    field("min_duration_ms", "At least, in ms", { inputmode: "numeric", value: wanted.min_duration_ms, pattern: "[0-9]{0,9}" }),
    choice("of", "Of", [["", "agents' events"], ["all", "every request"]], everything ? "all" : ""),
  ], { label: "Show", kind: "plain", submit: async (values) => go(`traces?${new URLSearchParams(Object.entries(values).filter(([, value]) => value))}`) });
  const find = form([field("id", "Event or trace", { type: "search", maxlength: 128, placeholder: "an id" })],
    { label: "Open", kind: "plain", submit: async ({ id }) => { if (id.trim()) go(pathOf("traces", id.trim())); } });
  return page(TITLE, "Newest first. Complete about a second after the event.", find,
    narrow, board("Traces", null, paged("Traces", COLUMNS, (cursor) => load(wanted, everything, cursor), (reply) => reply.traces,
      () => empty("No trace is kept", "The embedded stack keeps traces by itself; elsewhere they go to your collector."))));
}

function one(id) {
  return page("Trace", null, link("traces", "All traces"), loading(async () => {
    const found = await get(`traces/${pathOf(id)}`);
    const event = found.spans.find((span) => span.event_id)?.event_id;
    const begin = Math.min(...found.spans.map(began));
    const end = Math.max(...found.spans.map((span) => began(span) + span.duration_us));
    const services = [...new Set(found.spans.map((span) => span.service))];
    return h("div", { class: "stack" },
      card(null, facts([["Trace", h("code", {}, found.trace_id)], ["Event", event ? (may("audit") ? link(pathOf("audit", event), event) : event) : null],
        ["Began", moment(found.spans[0]?.started_at)], ["Took", duration(end - begin)], ["Services", services.join(", ")], ["Steps", `${count(found.spans.length)}${found.truncated ? ", more than are shown" : ""}`]])),
      card("Waterfall", h("div", { class: "fall" }, inOrder(found.spans).map(([depth, span]) => row(depth, span, begin, Math.max(1, end - begin))))));
  }, { height: "20rem" }));
}

/** Microseconds: a Date alone knows milliseconds only. */
function began(span) {
  const fraction = /\.(\d+)/.exec(span.started_at)?.[1] ?? "";
  return Math.floor(new Date(span.started_at).getTime() / 1000) * 1e6 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

/** Depth and span, each after its parent, siblings by start. A span whose parent is not there is a root. */
function inOrder(spans) {
  const known = new Set(spans.map((span) => span.span_id));
  const below = Map.groupBy([...spans].sort((one, other) => began(one) - began(other)), (span) => (known.has(span.parent_span_id) && span.parent_span_id !== span.span_id ? span.parent_span_id : null));
  const seen = new Set();
  const found = [];
  const visit = (parent, depth) => {
    for (const span of below.get(parent) ?? []) {
      if (seen.has(span.span_id)) continue;
      seen.add(span.span_id);
      found.push([depth, span]);
      visit(span.span_id, depth + 1);
    }
  };
  visit(null, 0);
  return found;
}

/** One step; what is known of it opens below. */
function row(depth, span, begin, total) {
  const failed = span.status === "error";
  return h("details", { class: `span ${failed ? "failed" : ""}`, "data-service": span.service },
    h("summary", {},
      h("span", { class: "name", title: `${span.service}: ${span.name}`, style: { "padding-left": `${Math.min(depth, INDENT_MAX) * 0.75}rem` } }, h("span", { class: "soft" }, `${span.service} `), span.name, failed ? " (error)" : ""),
      h("span", { class: "lane", "aria-hidden": "true" }, h("i", { style: { left: `${Math.min(99, (100 * (began(span) - begin)) / total)}%`, width: `${Math.max(0.3, (100 * span.duration_us) / total)}%` } })),
      h("span", { class: "num" }, duration(span.duration_us))),
    facts([["Kind", span.kind], ["Began", `${duration(began(span) - begin)} after the first step`], ...known(span)]));
}

function known(span) {
  return Object.entries(span.attributes ?? {}).sort().map(([name, value]) => [name, h("code", { class: "small" }, typeof value === "string" ? value.trim().replaceAll(/\s+/g, " ") : JSON.stringify(value))]);
}
