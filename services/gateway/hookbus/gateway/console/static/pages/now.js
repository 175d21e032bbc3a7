// What happens now: events as they come, what was denied, and how fast money goes.

import { get } from "../api.js";
import { fill, h, link, pathOf } from "../dom.js";
import * as live from "../live.js";
import { board, card, decision, empty, page, polled, table, tableRow, tile, badge } from "../parts.js";
import { may } from "../session.js";
import { count, kindOf, money, plain, shortMoment, summary } from "../words.js";

export const TITLE = "Now";
export const SCOPES = [];

const SHOWN_MAX = 60;
const WATCHING = new Set(["security.audit_read", "security.stream_opened"]); // this page's own traces
const SPEND_EVERY_MS = 10_000;
const HOUR_MS = 3_600_000;
const MINUTES = 60;
const LEDGER_PAGES_MAX = 5;
const TRY = `hookbus install claude-code        # puts your agent's hooks under hookbus
echo '{"session_id":"s1","cwd":"/tmp","hook_event_name":"PreToolUse","tool_name":"Bash",
  "tool_input":{"command":"ls"},"tool_use_id":"t1"}' | HOOKBUS_AGENT_ID=builder hookbus hook claude-code`;

export function render({ signal }) {
  return page(TITLE, "Events as they arrive, what hookbus refused, and what is being spent.",
    spending(signal), live.allowed() ? stream(signal) : card("Live events", h("p", { class: "soft" }, "Your role sees budgets. Events take the scope audit or session.")));
}

function stream(signal) {
  const filter = { denials: false, agent: "" };
  const columns = [
    { label: "Time", tight: true, cell: (event) => h("time", { datetime: event.time }, shortMoment(event.time)) },
    { label: "Kind", tight: true, cell: (event) => plain(kindOf(event).replace("security.", "")) },
    { label: "Agent", cell: (event) => (event.subject === "hookbus" ? "hookbus itself" : may("session") ? link(`sessions?agent=${encodeURIComponent(event.subject)}`, event.subject) : event.subject) },
    { label: "What", cell: (event) => (may("audit") ? link(pathOf("audit", event.id), summary(event) || "details") : summary(event)) },
    { label: "Decision", cell: (event) => event.decision ? h("span", { class: "row" }, decision(event.decision), event.decisioncode && event.decisioncode !== "ok" ? h("span", { class: "small" }, plain(event.decisioncode)) : null) : kindOf(event).startsWith("security.") ? badge("security") : null },
  ];
  const body = h("div", {});
  const shown = (event) => !WATCHING.has(kindOf(event)) && !kindOf(event).startsWith("audit.")
    && (!filter.denials || event.decision === "deny") && (!filter.agent || event.subject.toLowerCase().includes(filter.agent));
  const draw = () => {
    const rows = live.events.filter(shown).slice(-SHOWN_MAX).reverse();
    fill(body, rows.length ? table("Live events", columns, rows) : empty(filter.denials ? "Nothing was denied" : "No events yet", "Put an agent under hookbus, or send one event by hand:", TRY));
  };
  live.listen((fresh) => {
    const rows = fresh.filter(shown);
    const list = body.querySelector("tbody");
    if (!list) return draw();
    for (const event of rows) list.prepend(tableRow(columns, event, { class: "new" }));
    while (list.rows.length > SHOWN_MAX) list.lastChild.remove();
  }, signal);
  const denials = h("button", { type: "button", class: "plain", "aria-pressed": "false", on: { click: () => {
    filter.denials = !filter.denials;
    denials.setAttribute("aria-pressed", String(filter.denials));
    draw();
  } } }, "Only denials");
  const agent = h("input", { type: "search", "aria-label": "Agent contains", placeholder: "Agent", on: { input: (event) => { filter.agent = event.target.value.trim().toLowerCase(); draw(); } } });
  draw();
  return board("Live events", h("div", { class: "row" }, h("div", {}, agent), denials), body);
}

function spending(signal) {
  if (!may("budget:read")) return null;
  const denied = denials(signal);
  return polled(async () => {
    const rows = await ledger();
    return [tiles(rows, denied), chart(rows)];
  }, { signal, everyMs: SPEND_EVERY_MS });
}

/** The ledger's rows of the last hour, newest first, as far back as a few pages go. */
async function ledger() {
  const since = Date.now() - HOUR_MS;
  const rows = [];
  let cursor = null;
  for (let number = 0; number < LEDGER_PAGES_MAX; number += 1) {
    let reply;
    try {
      reply = await get("budget/scopes/global/all/history", { limit: 1000, cursor });
    } catch (error) {
      if (error.status === 404) return rows; // nobody has spent anything yet
      throw error;
    }
    const recent = reply.entries.filter((row) => new Date(row.time).getTime() >= since);
    rows.push(...recent);
    cursor = reply.cursor;
    if (!cursor || recent.length < reply.entries.length) return rows;
  }
  return Object.assign(rows, { cut: true });
}

function sum(rows, pick) {
  return rows.reduce((total, row) => total + Number(pick(row)), 0);
}

/** How many of the events at hand were denials; counts on. */
function denials(signal) {
  const place = h("span", {});
  const draw = () => fill(place, count(live.events.filter((event) => event.decision === "deny").length));
  live.listen(draw, signal);
  draw();
  return place;
}

function tiles(rows, denied) {
  const quarter = rows.filter((row) => Date.now() - new Date(row.time).getTime() < HOUR_MS / 4);
  const spent = sum(rows, (row) => row.usd);
  const rate = sum(quarter, (row) => row.usd) * 4;
  const agents = new Set(rows.filter((row) => Number(row.tokens) > 0).map((row) => row.agent_id)).size;
  return h("div", { class: "tiles" },
    tile("Spend rate", `${money(rate)} / h`, "from the last 15 minutes"),
    tile("Spent in the last hour", money(spent), rows.cut ? "at least: there is more than one page shows" : `${count(sum(rows, (row) => row.tokens))} tokens`),
    tile("Agents that spent", count(agents), "in the last hour"),
    live.allowed() ? tile("Denied", denied, "among the newest events") : null);
}

function chart(rows) {
  const minutes = Array.from({ length: MINUTES }, () => 0);
  for (const row of rows) {
    const ago = Math.floor((Date.now() - new Date(row.time).getTime()) / 60_000);
    if (ago >= 0 && ago < MINUTES) minutes[MINUTES - 1 - ago] += Number(row.usd);
  }
  const most = Math.max(...minutes);
  if (most === 0) return null;
  return card("Spend by minute", h("div", { class: "chart", role: "img", "aria-label": `Spend by minute over the last hour, at most ${money(most)} in one minute` },
    minutes.map((usd, index) => h("span", { style: { height: `${usd === 0 ? 0 : Math.max(2, (100 * usd) / most)}%` }, title: `${MINUTES - 1 - index} min ago: ${money(usd)}` }))),
  h("div", { class: "row apart small soft" }, h("span", {}, "an hour ago"), h("span", {}, `at most ${money(most)} in a minute`), h("span", {}, "now")));
}
