// The newest checkpoint, and the places beyond this machine that hold it.

import { get } from "../api.js";
import { h } from "../dom.js";
import { parseCheckpoint } from "../merkle.js";
import { badge, card, facts, loading, polled } from "../parts.js";
import { away, count, moment } from "../words.js";

const EVERY_MS = 10_000;
const KINDS = { file: "file", address: "address", bucket: "bucket", witness: "witness" };

export function newest() {
  return loading(async () => {
    let found;
    try {
      found = await get("audit/key");
    } catch (error) {
      if (error.status === 404) return card("Checkpoint", h("p", { class: "soft" }, "None yet: the log signs one with its first entry."));
      throw error;
    }
    const { origin, signers } = parseCheckpoint(found.note);
    const witnesses = signers.filter((name) => name !== origin);
    return card("Newest checkpoint", facts([
      ["Entries", count(found.size)],
      ["Root", h("code", { class: "small" }, found.root_hash)],
      ["Witnesses", witnesses.length ? witnesses.join(", ") : "none has cosigned it"],
      ["Keys", found.handovers.length ? `handed over ${count(found.handovers.length)} time${found.handovers.length === 1 ? "" : "s"}` : "the first one signs"],
      ["Pin this key", h("code", { class: "small" }, found.verifier_key)],
    ]));
  }, { height: "12rem" });
}

/** Where checkpoints are kept beyond the log's own reach; asked again while the page is open. */
export function anchors(signal) {
  const ask = async () => view(await get("audit/anchors", {}, { signal }));
  return card("Kept elsewhere", polled(ask, { signal, everyMs: EVERY_MS, height: "6rem" }));
}

function view({ anchors: found }) {
  if (!found.length) {
    return h("div", { class: "stack" }, h("p", {}, badge("nowhere", "warn")),
      h("p", { class: "small soft" }, "Whoever has this machine with the log's key could rewrite all of it unseen. A file elsewhere, a bucket, an address or a witness ends that: ",
        h("code", {}, "HOOKBUS_AUDIT_ANCHOR_FILE"), ", ", h("code", {}, "…_ANCHOR_S3"), ", ", h("code", {}, "…_ANCHOR_URL"), ", ", h("code", {}, "HOOKBUS_AUDIT_WITNESSES"), "."));
  }
  return h("ul", { class: "plain stack" }, found.map((one) => h("li", { class: "anchor" },
    h("div", { class: "row" }, badge(KINDS[one.kind] ?? one.kind), h("strong", { class: "break" }, one.name), standing(one)),
    h("p", { class: "small soft" }, one.size ? `Holds the checkpoint over ${count(one.size)} entries` : "Holds none yet", one.reached_at ? h("span", { title: moment(one.reached_at) }, `, taken ${away(one.reached_at)}`) : "", "."),
    one.fault ? h("p", { class: "notice bad" }, h("span", {}, `${one.fault} (since ${moment(one.fault_at)})`)) : null)));
}

function standing(one) {
  if (one.fault) return badge(`${count(one.lag_entries)} entries behind`, "bad");
  if (one.lag_entries === 0) return badge("has the newest", "good");
  return badge(`${count(one.lag_entries)} entr${one.lag_entries === 1 ? "y" : "ies"} behind`, one.size ? "" : "warn");
}
