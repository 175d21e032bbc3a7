// The log: search, one entry with its proof, the check of it all, and the newest checkpoint.

import { get, post } from "../api.js";
import { fill, h, link, pathOf } from "../dom.js";
import { checkReceipt, canCheck, parseCheckpoint } from "../merkle.js";
import { badge, board, card, choice, decision, empty, facts, field, form, loading, page, trouble } from "../parts.js";
import { count, kindOf, moment, plain, shortMoment, summary, traceOf } from "../words.js";
import { anchors, newest } from "./checkpoint.js";
import { paged } from "./sessions.js";

export const TITLE = "Audit";
export const SCOPES = ["audit"];

const PAGE_ITEMS = 50;
const VERIFY_TIMEOUT_S = 125;
const PROGRESS_MS = 1000;
const FIELDS = ["agent", "kind", "session", "project", "outcome"];

export function render(context) {
  return context.rest.length ? entry(context.rest[0]) : search(context);
}

export const COLUMNS = [
  { label: "Entry", num: true, cell: (row) => count(row.index) },
  { label: "Time", tight: true, cell: (row) => shortMoment(row.time) },
  { label: "Kind", cell: (row) => (row.event ? plain(kindOf(row.event)) : badge("erased")) },
  { label: "Agent", cell: (row) => row.event?.subject },
  { label: "What", cell: (row) => link(pathOf("audit", row.event_id), summary(row.event) || row.event_id) },
  { label: "Outcome", cell: (row) => (row.event?.decision ? decision(row.event.decision) : row.event?.data?.status) },
];

function search({ query, go, signal }) {
  const wanted = Object.fromEntries(FIELDS.map((name) => [name, query.get(name) ?? ""]));
  const since = query.get("since") ?? "";
  const until = query.get("until") ?? "";
  const made = form([
    field("agent", "Agent", { type: "search", value: wanted.agent, maxlength: 64 }),
    field("kind", "Kind", { type: "search", value: wanted.kind, maxlength: 80, placeholder: "pre-task, usage, security.session_killed", list: null }),
    field("session", "Session", { type: "search", value: wanted.session, maxlength: 128 }),
    field("project", "Project", { type: "search", value: wanted.project, maxlength: 64 }),
    choice("outcome", "Outcome", [["", "any"], ["allow", "allow"], ["deny", "deny"], ["ask", "ask"]], wanted.outcome),
    field("since", "From", { type: "datetime-local", value: since }),
    field("until", "Until", { type: "datetime-local", value: until }),
  ], { label: "Search", submit: async (values) => go(`audit?${new URLSearchParams(Object.entries(values).filter(([, value]) => value))}`) });
  const load = (cursor) => get("audit/entries", { ...wanted, since: utc(since), until: utc(until), order: "newest", cursor, limit: PAGE_ITEMS });
  return page(TITLE, "Every event, encrypted and in order. Reading it is itself an entry.",
    h("div", { class: "columns" }, h("div", { class: "stack" }, verification(), anchors(signal)), newest()), card("Search", made),
    board("Entries, newest first", null, paged("Entries", COLUMNS, load, (reply) => reply.entries,
      () => empty("Nothing found", "No entry matches. A first event by hand:", "hookbus emit notification --agent builder --data '{\"note\":\"hello\"}'"))));
}

const utc = (local) => (local ? new Date(local).toISOString() : "");

function verification() {
  const result = h("div", { role: "status" });
  const button = h("button", { type: "button", on: { click: run } }, "Verify the whole log");
  return h("section", { class: "card", "aria-label": "Verify" }, h("div", { class: "row apart" }, h("h2", {}, "Is the log what it was?"), button),
    h("p", { class: "soft" }, "Recomputes every hash, proof and signature from the stored rows, and opens every entry whose key still exists."), result);

  async function run() {
    button.disabled = true;
    const began = Date.now();
    const watch = `console-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
    const bar = h("progress", { "aria-label": "Verifying" });
    const words = h("p", { class: "small soft" }, "Reading the whole log.");
    const timer = setInterval(() => progress(watch, bar, words), PROGRESS_MS);
    fill(result, h("div", { class: "stack" }, bar, words));
    try {
      const found = await post("audit/verify", { depth: "all", watch }, { timeoutS: VERIFY_TIMEOUT_S });
      const took = `${((Date.now() - began) / 1000).toFixed(1)} s`;
      fill(result, found.ok
        ? h("div", { class: "notice good" }, h("p", {}, h("strong", {}, "Intact. "), `${count(found.checked)} entries checked in ${took}.`), h("p", { class: "small mono break" }, `root ${found.root_hash}`))
        : h("div", { class: "notice bad" }, h("p", {}, h("strong", {}, "NOT intact. "), found.first_bad_index === null || found.first_bad_index === undefined ? "" : `First at entry ${count(found.first_bad_index)}. `, found.fault)));
    } catch (error) {
      fill(result, trouble(error));
    } finally {
      clearInterval(timer);
      button.disabled = false;
    }
  }
}

/** How far the check is, as far as anybody knows. */
async function progress(watch, bar, words) {
  const { checked, size } = await get("audit/verify/progress", { watch }).catch(() => ({ checked: 0, size: 0 }));
  if (size === 0) return;
  bar.max = size;
  bar.value = checked;
  fill(words, `${count(checked)} of ${count(size)} entries`);
}

function entry(id) {
  return page("Entry", null, link("audit", "The log"), loading(async () => {
    const receipt = await get(`audit/receipts/${pathOf(id)}`);
    const { entries } = await get("audit/entries", { cursor: receipt.index === 0 ? null : receipt.index - 1, limit: 1 });
    const found = entries.find((one) => one.event_id === id);
    return h("div", { class: "columns" }, what(found, receipt), proof(receipt));
  }, { height: "24rem" }));
}

function what(found, receipt) {
  const event = found?.event;
  const trace = traceOf(event);
  return h("section", { class: "card", "aria-label": "Event" },
    facts([
      ["Entry", count(receipt.index)], ["Event", h("code", {}, receipt.event_id)], ["Logged", moment(found?.time)], ["Happened", moment(event?.time)],
      ["Kind", plain(kindOf(event))], ["Agent", event?.subject], ["Project", event?.project],
      ["Session", event?.session ? link(pathOf("sessions", event.session), event.session) : null],
      ["Decision", event?.decision ? [decision(event.decision), " ", plain(event.decisioncode)] : null],
      ["Trace", trace ? link(pathOf("traces", trace), "waterfall") : null],
    ]),
    event ? h("pre", { tabindex: 0, "aria-label": "The event as it was logged" }, JSON.stringify(event, null, 2)) : h("p", { class: "notice warn" }, "What this entry said was erased: its key is destroyed. That it was there, and where, can still be proven."));
}

function proof(receipt) {
  const checkpoint = parseCheckpoint(receipt.checkpoint);
  const result = h("div", { role: "status" });
  const run = async () => {
    try {
      await checkReceipt(receipt);
      fill(result, h("p", { class: "notice good" }, h("strong", {}, "Included. "), `This browser recomputed the path of ${receipt.proof.length} hashes from the record to the root of the checkpoint over ${count(checkpoint.size)} entries.`));
    } catch (error) {
      fill(result, h("p", { class: "notice bad", role: "alert" }, h("strong", {}, "NOT proven: "), error.message));
    }
  };
  if (canCheck()) run();
  else fill(result, h("p", { class: "notice warn" }, "This browser checks proofs only over HTTPS or on the machine itself. ", h("code", {}, `hookbus audit prove ${receipt.event_id}`), " does it anywhere."));
  return card("Proof", result,
    facts([["Leaf", h("code", { class: "small" }, receipt.leaf_hash)], ["Log", checkpoint.origin], ["Signed by", checkpoint.signers.join(", ")]]),
    h("p", { class: "small soft" }, "The checkpoint's signature is checked by ", h("code", {}, "hookbus audit prove"), " against a key you pinned."),
    h("details", {}, h("summary", {}, "The path and the checkpoint"), h("pre", { tabindex: 0 }, receipt.proof.join("\n") || "the log holds this entry alone"), h("pre", { tabindex: 0 }, receipt.checkpoint)),
    h("div", {}, download(receipt)));
}

function download(receipt) {
  return h("button", { type: "button", class: "plain", on: { click: () => {
    const address = URL.createObjectURL(new Blob([receipt.tlog_proof], { type: "text/plain" }));
    h("a", { href: address, download: `${receipt.event_id}.tlog-proof` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  } } }, "Save the receipt");
}
