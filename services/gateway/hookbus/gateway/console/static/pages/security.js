// What hookbus and its people did or noticed: sign-ins, keys, kills, risk, refused input.

import { get } from "../api.js";
import { link, pathOf } from "../dom.js";
import { badge, board, empty, field, form, page } from "../parts.js";
import { kindOf, plain, shortMoment, summary } from "../words.js";
import { paged } from "./sessions.js";

export const TITLE = "Security";
export const SCOPES = ["audit"];

const PAGE_ITEMS = 50;
const GRAVE = new Set(["session_killed", "token_reused", "login_locked", "input_refused", "erased"]);
const NOTABLE = new Set(["login_failed", "session_flagged", "risk_assessed", "key_created", "key_revoked", "user_created", "user_reset", "user_disabled", "breach_check_failed", "subagent_limit", "totp_removed"]);

const codeOf = (row) => kindOf(row.event).replace(/^security\./, "");

const COLUMNS = [
  { label: "Time", tight: true, cell: (row) => shortMoment(row.time) },
  { label: "Event", cell: (row) => badge(row.event ? plain(codeOf(row)) : "erased", GRAVE.has(codeOf(row)) ? "bad" : NOTABLE.has(codeOf(row)) ? "warn" : "") },
  { label: "Concerns", cell: (row) => row.event?.data?.username ?? (row.event?.subject === "hookbus" ? "hookbus itself" : row.event?.subject) },
  { label: "Session", cell: (row) => (row.event?.session ? link(pathOf("sessions", row.event.session), row.event.session, { class: "mono" }) : null) },
  { label: "What", cell: (row) => link(pathOf("audit", row.event_id), summary(row.event) || "details") },
];

export function render({ query, go }) {
  const code = query.get("code") ?? "";
  const search = form([field("code", "Code", { type: "search", value: code, maxlength: 80, placeholder: "login_failed, session_killed" })],
    { label: "Show", kind: "plain", submit: async (values) => go(`security?${new URLSearchParams(Object.entries(values).filter(([, value]) => value))}`) });
  const load = (cursor) => get("audit/entries", { stream: "security", kind: code ? `security.${code.trim().replaceAll(" ", "_")}` : "", order: "newest", cursor, limit: PAGE_ITEMS });
  return page("Security events", "Sign-ins, keys, kills, risk and reads of the log, newest first.", search,
    board("Security events", null, paged("Security events", COLUMNS, load, (reply) => reply.entries, () => empty("Nothing of that kind", "Leave the code empty to see all."))));
}
