// Messages no service could process: look, put back, give up. Each is an event in the log.

import { get, post, remove } from "../api.js";
import { fill, h, link, pathOf } from "../dom.js";
import { ask, badge, board, card, empty, explain, facts, loading, page, say } from "../parts.js";
import { may } from "../session.js";
import { count, moment, shortMoment } from "../words.js";
import { paged } from "./sessions.js";

export const TITLE = "Dead letters";
export const SCOPES = ["admin"];

const PAGE_ITEMS = 50;

export function render(context) {
  return context.rest.length ? one(context.rest[0], context.go) : list();
}

const COLUMNS = [
  { label: "Number", num: true, cell: (row) => link(pathOf("deadletters", row.seq), row.seq) },
  { label: "Set aside", tight: true, cell: (row) => shortMoment(row.stored_at) },
  { label: "By", cell: (row) => badge(row.service) },
  { label: "Why", cell: (row) => row.reason },
  { label: "Agent", cell: (row) => row.agent_id },
  { label: "Subject", cell: (row) => h("code", { class: "small" }, row.subject) },
];

function list() {
  return page(TITLE, "Messages a service could not process, oldest first. Their neighbours passed.",
    board("Dead letters", null, paged("Dead letters", COLUMNS, (cursor) => get("deadletters", { cursor, limit: PAGE_ITEMS }), (reply) => reply.deadletters,
      () => empty("None: every message was processed", "A message that a service cannot read, or that failed too often, would wait here for a person."))));
}

function one(seq, go) {
  const place = h("div", {});
  const body = loading(async () => {
    const found = await get(`deadletters/${pathOf(seq)}`);
    return h("div", { class: "stack" },
      card(null, facts([
        ["Why", found.reason], ["Set aside by", found.service], ["Set aside", moment(found.stored_at)], ["Subject", h("code", {}, found.subject)],
        ["Came as", `message ${count(found.stream_seq)} of ${found.stream}`], ["Size", `${count(found.size_bytes)} bytes`], ["Kind", found.type], ["Agent", found.agent_id],
        ["Event", found.event_id ? (may("audit") ? link(pathOf("audit", found.event_id), found.event_id) : found.event_id) : null],
      ]), h("div", { class: "row" },
        h("button", { type: "button", on: { click: () => act("requeue") } }, "Put it back"),
        h("button", { type: "button", class: "danger", on: { click: () => act("drop") } }, "Give it up"))),
      card("Content", h("pre", { tabindex: 0 }, found.event === undefined ? found.text ?? "" : JSON.stringify(found.event, null, 2))));
  }, { height: "20rem" });
  return page(`Dead letter ${seq}`, null, link("deadletters", "All dead letters"), body, place);

  async function act(how) {
    const back = how === "requeue";
    const sure = await ask({
      title: back ? "Put the message back?" : "Give the message up?",
      text: back ? "It goes where it came from. Services that had processed it do not count it again." : "It is deleted for good. The log keeps that you did this.",
      label: back ? "Put it back" : "Give it up", danger: !back,
    });
    if (sure === null) return;
    try {
      await (back ? post(`deadletters/${pathOf(seq)}/requeue`) : remove(`deadletters/${pathOf(seq)}`));
      say(back ? "The message is back on the bus." : "The message is gone.");
      go("deadletters");
    } catch (error) {
      fill(place, h("p", { class: "notice bad", role: "alert" }, explain(error)));
    }
  }
}
