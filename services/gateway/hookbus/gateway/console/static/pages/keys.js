// What programs sign in with: made here, shown once, revoked.

import { get, post, remove } from "../api.js";
import { fill, h, pathOf } from "../dom.js";
import { ask, badge, board, card, choice, choices, empty, explain, field, form, page, say, secret } from "../parts.js";
import { away, moment } from "../words.js";
import { paged } from "./sessions.js";

export const TITLE = "API keys";
export const SCOPES = ["admin"];

const PAGE_ITEMS = 100;
const DAY_S = 86_400;
const LIVES = [["", "until it is revoked"], ["1", "a day"], ["30", "30 days"], ["90", "90 days"], ["365", "a year"]];
const MAY = [
  ["events", "events", "Send events, ask for decisions: what an agent's hooks need"],
  ["budget:read", "budget:read", "See limits and what was spent"],
  ["budget:write", "budget:write", "Set limits, record charges"],
  ["session", "session", "See sessions, kill and revive them"],
  ["audit", "audit", "Read the log, its proofs, traces and live events"],
  ["admin", "admin", "Everything, people and keys included"],
];

export function render() {
  const shown = h("div", {});
  const wrong = h("div", {});
  const keys = h("div", {});
  const columns = [
    { label: "Name", cell: (row) => row.name },
    { label: "Key", tight: true, cell: (row) => h("code", { class: "small" }, `hbk_${row.key_id}_…`) },
    { label: "May", cell: (row) => row.scopes.join(", ") },
    { label: "Made", tight: true, cell: (row) => moment(row.created_at) },
    { label: "State", cell: (row) => state(row) },
    { label: "", cell: (row) => (row.revoked_at ? null : h("button", { type: "button", class: "quiet", "aria-label": `Revoke ${row.name}`, on: { click: () => revoke(row) } }, "Revoke")) },
  ];
  return page(TITLE, "What programs sign in with. A key's text is shown once and kept nowhere; hookbus knows its hash.", shown, wrong,
    card("Make a key", maker()), fill(keys, list()));

  function list() {
    return board("Keys, newest first", null, paged("API keys", columns, (cursor) => get("keys", { cursor, limit: PAGE_ITEMS }), (reply) => reply.keys,
      () => empty("No key yet", "hookbus up makes one for this machine; others are made here or by:", "hookbus key create ci --scope events")));
  }

  function maker() {
    return form([
      field("name", "What it is for", { required: true, maxlength: 64, autocomplete: "off" }),
      choice("days", "Good for", LIVES, "90"),
      choices("scopes", "It may", MAY, ["events"]),
    ], { label: "Make the key", submit: async ({ name, days }, made) => {
      const scopes = new FormData(made).getAll("scopes");
      if (!scopes.length) throw new Error("Say what the key may do.");
      const { key, api_key: text } = await post("keys", { name: name.trim(), scopes, ttl_seconds: days ? Number(days) * DAY_S : null });
      fill(shown, secret({ title: `The key ${key.name}`, text: "Copy it now: it is not shown again. A program takes it from HOOKBUS_API_KEY, or from client.toml in its data folder.", value: text }));
      made.reset();
      fill(keys, list());
    } });
  }

  async function revoke(row) {
    const sure = await ask({ title: `Revoke the key ${row.name}?`, text: "Whatever uses it is refused within a second. A revoked key does not come back.", label: "Revoke the key", danger: true });
    if (sure === null) return;
    try {
      await remove(`keys/${pathOf(row.key_id)}`);
      say(`The key ${row.name} is revoked.`);
      fill(wrong);
      fill(keys, list());
    } catch (error) {
      fill(wrong, h("p", { class: "notice bad", role: "alert" }, explain(error)));
    }
  }
}

function state(row) {
  if (row.revoked_at) return [badge("revoked"), " ", h("span", { class: "small soft" }, away(row.revoked_at))];
  if (!row.expires_at) return badge("good", "good");
  if (new Date(row.expires_at) <= new Date()) return badge("expired");
  return [badge("good", "good"), " ", h("span", { class: "small soft", title: moment(row.expires_at) }, `ends ${away(row.expires_at)}`)];
}
