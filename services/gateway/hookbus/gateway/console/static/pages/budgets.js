// Limits as a tree, and one account with its windows, holds and ledger.

import { get, post } from "../api.js";
import { h, link, pathOf } from "../dom.js";
import { ask, badge, board, card, choice, empty, facts, field, form, limitBar, loading, page, say, table, explain } from "../parts.js";
import { may } from "../session.js";
import { amount, count, moment, money, plain, WINDOWS } from "../words.js";

export const TITLE = "Budgets";
export const SCOPES = ["budget:read"];

const PAGE_ITEMS = 500;
const LEDGER_ROWS = 50;
const LEVELS = { global: "global", team: "team", project: "project", agent: "agent", session: "session", subagent: "subagent" };

export function render(context) {
  const [scope, name] = context.rest;
  return scope && name ? account(scope, name) : overview(context);
}

function overview({ go }) {
  return page(TITLE, "An operation must fit every limit above its agent. The striped part of a bar is held for operations under way.",
    loading(async () => {
      const [everything, teams, projects, agents] = await Promise.all(["global", "team", "project", "agent"].map(accountsOf));
      if (!agents.length && !projects.length && !teams.length) {
        return [empty("No account yet", "An agent gets one with its first operation, or when you set its limits:", "hookbus budget init builder --limit tokens:hour:50000"), maker(go)];
      }
      return h("div", { class: "stack" }, tree(everything, teams, projects, agents), maker(go));
    }));
}

async function accountsOf(scope) {
  const { accounts } = await get("budget/list", { scope, limit: PAGE_ITEMS });
  return accounts;
}

function tree(everything, teams, projects, agents) {
  const below = (items) => (items.length ? h("ul", {}, items) : null);
  const agentsOf = (project) => agents.filter((one) => (one.project ?? null) === project).map((one) => node(one));
  const projectsOf = (team) => projects.filter((one) => (one.team ?? null) === team).map((one) => node(one, below(agentsOf(one.name))));
  const known = new Set(projects.map((one) => one.name));
  const loose = agents.filter((one) => !one.project || !known.has(one.project)).map((one) => node(one));
  const top = everything[0] ?? { scope: "global", name: "global", remaining: [], holds: 0 };
  return h("ul", { class: "tree" }, node(top, below([...teams.map((one) => node(one, below(projectsOf(one.name)))), ...projectsOf(null), ...loose])));
}

function node(one, children) {
  const name = one.scope === "global" ? "Everything" : one.name;
  return h("li", {}, h("section", { class: "card", "aria-label": `${LEVELS[one.scope]} ${name}` },
    h("div", { class: "row apart" },
      h("h3", {}, link(pathOf("budgets", one.scope, one.name), name), " ", badge(LEVELS[one.scope])),
      h("span", { class: "small soft" }, one.holds ? `${count(one.holds)} held` : "")),
    one.remaining.length ? h("div", { class: "limits" }, one.remaining.map(limitBar)) : h("p", { class: "small soft" }, "No limit here.")), children);
}

function maker(go) {
  if (!may("budget:write")) return null;
  return card("Limit something new", form([
    choice("scope", "What", [["agent", "An agent"], ["project", "A project"], ["team", "A team"], ["global", "Everything"]], "agent"),
    field("name", "Its name", { pattern: "[a-zA-Z0-9_.\\-]{1,64}", maxlength: 64 }),
    ...limitFields(),
  ], { label: "Set the limit", submit: async (values) => {
    const name = values.scope === "global" ? "global" : values.name.trim();
    if (!name) throw new Error("Give it a name.");
    await setLimit(values.scope, name, values);
    say(`The limit of ${LEVELS[values.scope]} ${name} is set.`);
    go(pathOf("budgets", values.scope, name));
  } }));
}

function limitFields() {
  return [
    field("amount", "At most", { inputmode: "decimal", pattern: "[0-9]{1,15}([.][0-9]{1,6})?", required: true, maxlength: 22 }),
    choice("unit", "of", [["tokens", "tokens"], ["usd", "US dollars"]], "tokens"),
    choice("window", "in", Object.entries(WINDOWS), "hour"),
    choice("mode", "When it is met", [["block", "deny"], ["ask", "ask the person"], ["warn", "only warn"]], "block"),
  ];
}

const placeOf = (scope, name) => (scope === "agent" ? `budget/init/${pathOf(name)}` : `budget/scopes/${pathOf(scope, name.replaceAll("/", "~"))}`);

function setLimit(scope, name, { unit, window, amount: most, mode }) {
  const limit = { unit, window, amount: most === null ? null : String(most).trim(), ...(mode ? { mode } : {}) };
  return post(placeOf(scope, name), { limits: [limit] });
}

function account(scope, name) {
  const place = `budget/scopes/${pathOf(scope, name.replaceAll("/", "~"))}`;
  const status = loading(async () => {
    const found = await get(scope === "agent" ? `budget/status/${pathOf(name)}` : place);
    return h("div", { class: "stack" }, windows(found), holds(found));
  }, { height: "14rem" });
  const ledger = loading(async () => {
    const { entries } = await get(scope === "agent" ? `budget/history/${pathOf(name)}` : `${place}/history`, { limit: LEDGER_ROWS });
    return entries.length ? table("Ledger", LEDGER, entries) : empty("Nothing happened here yet", "Each reservation, charge and change of a limit becomes a row.");
  });
  const again = () => { status.reload(); ledger.reload(); };
  const title = scope === "global" ? "Everything" : name;
  return page(title, null, h("div", { class: "row" }, badge(LEVELS[scope] ?? scope), link("budgets", "All budgets")), status,
    may("budget:write") ? card("Set a limit", form(limitFields(), { label: "Set the limit", submit: async (values) => {
      await setLimit(scope, name, values);
      say("The limit is set. It counts from the next operation.");
      again();
    } })) : null,
    board("Ledger, newest first", null, ledger));

  function windows(found) {
    return h("section", { class: "card", "aria-label": "Limits" },
      h("div", { class: "row apart" }, h("h2", {}, "Limits"), may("budget:write") && found.remaining.length ? h("button", { type: "button", class: "plain", on: { click: reset } }, "Start all windows afresh") : null),
      found.remaining.length ? h("div", { class: "stack" }, found.remaining.map((limit) => h("div", { class: "limit" }, limitBar(limit),
        may("budget:write") ? h("div", {}, h("button", { type: "button", class: "quiet", "aria-label": `Take away ${amount(limit.amount, limit.unit)} ${WINDOWS[limit.window]}`, on: { click: () => away(limit) } }, "Take away")) : null))) : h("p", { class: "soft" }, "No limit here: only those above it bound what is spent."));
  }

  function holds(found) {
    return card("What is known", facts([
      ["Held now", `${count(found.holds)} operation${found.holds === 1 ? "" : "s"} under way`],
      ["Project", found.project ? link(pathOf("budgets", "project", found.project), found.project) : null],
      ["Team", found.team ? link(pathOf("budgets", "team", found.team), found.team) : null],
      ["Warns at", found.warn_at?.map((share) => `${Math.round(share * 100)} %`).join(", ")],
    ]));
  }

  async function reset() {
    if (!(await ask({ title: `Start the windows of ${title} afresh?`, text: "What was spent in the running windows no longer counts against its limits. The ledger keeps it, and who did this.", label: "Start afresh", danger: true }))) return;
    await attempt(() => post(scope === "agent" ? `budget/reset/${pathOf(name)}` : `${place}/reset`, {}), "The windows start afresh.");
  }

  async function away(limit) {
    if (!(await ask({ title: "Take this limit away?", text: `${amount(limit.amount, limit.unit)} ${WINDOWS[limit.window]}`, label: "Take it away", danger: true }))) return;
    await attempt(() => setLimit(scope, name, { ...limit, amount: null }), "The limit is gone.");
  }

  async function attempt(act, done) {
    try {
      await act();
      say(done);
    } catch (error) {
      say(explain(error));
    }
    again();
  }
}

const LEDGER = [
  { label: "Time", tight: true, cell: (row) => moment(row.time) },
  { label: "What", cell: (row) => plain(row.operation) },
  { label: "Agent", cell: (row) => row.agent_id },
  { label: "Model", cell: (row) => row.model },
  { label: "Tokens", num: true, cell: (row) => (Number(row.tokens) ? count(row.tokens) : "") },
  { label: "Cost", num: true, cell: (row) => (Number(row.usd) ? money(row.usd) : "") },
  { label: "Held", num: true, cell: (row) => (Number(row.held_tokens) ? count(row.held_tokens) : "") },
  { label: "By", cell: (row) => row.actor },
  { label: "Event", cell: (row) => (row.event_id && may("audit") ? link(pathOf("audit", row.event_id), "in the log") : null) },
];
