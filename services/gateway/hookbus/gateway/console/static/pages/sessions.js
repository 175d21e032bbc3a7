// Agents and people at work: how unusual they look, and the switch that stops them.

import { get, post } from "../api.js";
import { fill, h, link, pathOf } from "../dom.js";
import { ask, badge, board, card, choice, empty, facts, field, form, loading, page, riskBadge, say, table, trouble, explain } from "../parts.js";
import { count, moment, plain, shortMoment } from "../words.js";

export const TITLE = "Sessions";
export const SCOPES = ["session"];

const PAGE_ITEMS = 50;
const STATE_TONE = { active: "good", killed: "bad", ended: "" };

export function render(context) {
  return context.rest.length ? one(context.rest[0]) : list(context);
}

const COLUMNS = [
  { label: "Session", cell: (row) => link(pathOf("sessions", row.id), row.id, { class: "mono" }) },
  { label: "Whose", cell: (row) => (row.kind === "person" ? [badge("person"), " ", row.agent_id.replace(/^user:/, "")] : row.agent_id) },
  { label: "Project", cell: (row) => row.project },
  { label: "State", cell: (row) => badge(row.state, STATE_TONE[row.state]) },
  { label: "Risk", cell: (row) => riskBadge(row.risk) },
  { label: "Last seen", tight: true, cell: (row) => shortMoment(row.last_seen_at) },
  { label: "Events", num: true, cell: (row) => count(row.events) },
];

function list({ query, go }) {
  const wanted = { agent_id: query.get("agent") ?? "", session_state: query.get("state") ?? "" };
  const search = form([
    field("agent", "Agent", { type: "search", value: wanted.agent_id, maxlength: 64, pattern: "[a-zA-Z0-9_\\-]*" }),
    choice("state", "State", [["", "any"], ["active", "active"], ["killed", "killed"], ["ended", "ended"]], wanted.session_state),
  ], { label: "Show", kind: "plain", submit: async (values) => go(`sessions?${new URLSearchParams(Object.entries(values).filter(([, value]) => value))}`) });
  return page(TITLE, "Last seen first. A killed session is refused at its next hook.", search,
    board("Sessions", null, paged("Sessions", COLUMNS, (cursor) => get("sessions", { ...wanted, cursor, limit: PAGE_ITEMS }), (reply) => reply.sessions,
      () => empty("No such session", "A session begins with an agent's first hook, or when a person signs in:", "hookbus install claude-code"))));
}

/** Pages of a table, the next one under a button. */
export function paged(caption, columns, load, rowsOf, none) {
  const place = h("div", {});
  const all = [];
  const more = h("div", { class: "row end" });
  const step = async (cursor) => {
    const reply = await load(cursor);
    all.push(...rowsOf(reply));
    fill(place, all.length ? table(caption, columns, all) : none());
    fill(more, reply.cursor ? h("button", { type: "button", class: "quiet", on: { click: async (event) => {
      event.target.disabled = true;
      try { await step(reply.cursor); } catch (error) { fill(more, trouble(error)); }
    } } }, "More") : null);
    return [place, more];
  };
  return loading(() => step(null));
}

function one(id) {
  const body = loading(async () => view(await get(`sessions/${pathOf(id)}`)), { height: "20rem" });
  return page(`Session ${id}`, null, link("sessions", "All sessions"), body);

  function view(found) {
    const whose = found.kind === "person" ? `the person ${found.agent_id.replace(/^user:/, "")}` : `the agent ${found.agent_id}`;
    return h("div", { class: "columns" },
      h("div", { class: "stack" },
        h("section", { class: "card", "aria-label": "State" },
          h("div", { class: "row apart" }, h("div", { class: "row" }, badge(found.state, STATE_TONE[found.state]), riskBadge(found.risk)), action(found, whose)),
          found.confirm_required ? h("p", { class: "notice warn" }, "This session opens nothing until its password was given again.") : null,
          found.killed_at ? h("p", { class: "notice bad" }, `Killed ${moment(found.killed_at)} by ${found.killed_by || "hookbus"}${found.kill_reason ? `: ${found.kill_reason}` : "."}`) : null,
          Number(found.budget_share) < 1 ? h("p", { class: "notice warn" }, `While the risk is what it is, the agent has ${Math.round(found.budget_share * 100)} % of its limits.`) : null),
        board("Why the risk is what it is", null, signals(found.signals))),
      card("What is known", facts([
        ["Of", found.kind === "agent" ? link(pathOf("budgets", "agent", found.agent_id), found.agent_id) : whose],
        ["Project", found.project], ["Began", moment(found.opened_at)], ["Last seen", moment(found.last_seen_at)], ["Ended", moment(found.ended_at)],
        [found.kind === "person" ? "Refreshes" : "Events", count(found.events)],
        ...Object.entries(found.baseline ?? {}).map(([name, value]) => [plain(name), typeof value === "object" ? JSON.stringify(value) : String(value)]),
      ])));
  }

  function action(found, whose) {
    if (found.state === "ended") return null;
    const kill = found.state === "active";
    return h("button", { type: "button", class: kill ? "danger" : "plain", on: { click: async () => {
      const answer = await ask({
        title: kill ? "Kill this session?" : "Revive this session?",
        text: kill ? `Every next operation of ${whose} in session ${id} is refused, from its next hook on.` : `${whose} may go on in session ${id}. The evidence against it is taken as explained.`,
        fields: [field("reason", "Why", { maxlength: 1000, autocomplete: "off" }, "Told to the agent and kept in the log.")],
        label: kill ? "Kill the session" : "Revive the session", danger: kill,
      });
      if (answer === null) return;
      try {
        await post(`sessions/${pathOf(id)}/${kill ? "kill" : "revive"}`, { reason: answer.reason });
        say(kill ? "The session is killed." : "The session is revived.");
      } catch (error) {
        say(explain(error));
      }
      body.reload();
    } } }, kill ? "Kill the session" : "Revive the session");
  }
}

function signals(found) {
  if (!found.length) return empty("Nothing speaks against it", "Signs such as a change of host, a burst of operations or refused input appear here with what each adds.");
  return table("Signals", [
    { label: "Sign", cell: (row) => [row.words, row.cleared_at ? [" ", badge("explained")] : null] },
    { label: "Evidence", cell: (row) => row.evidence },
    { label: "Adds", num: true, cell: (row) => Number(row.contribution).toFixed(2) },
    { label: "Times", num: true, cell: (row) => count(row.occurrences) },
    { label: "Seen", tight: true, cell: (row) => shortMoment(row.seen_at) },
  ], found);
}
