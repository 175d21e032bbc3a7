// What every page is made of.

import { h, fill } from "./dom.js";
import { amount, amountOf, away, percent, WINDOWS, moment, risk } from "./words.js";
import { ApiError, SignedOut } from "./session.js";

/** A page: its heading, a line of what it is, and its parts. */
export function page(title, lead, ...children) {
  return h("div", { class: "page" }, h("header", {}, h("h1", {}, title), lead ? h("p", { class: "lead" }, lead) : null), children);
}

/** A word with a colour; the word alone says it all. */
export function badge(text, tone = "") {
  return h("span", { class: `badge ${tone}` }, text);
}

export function decision(word) {
  return badge(word, { allow: "good", deny: "bad", ask: "warn" }[word] ?? "");
}

export function riskBadge(value) {
  const { words, tone } = risk(value);
  return badge(`${words} (${Number(value).toFixed(2)})`, tone);
}

/** A table that turns into cards on a phone. Columns: `{label, cell(row), num?, tight?}`; rows may be any objects. */
export function table(caption, columns, rows) {
  return h("table", { class: "table cards", role: "table", "aria-label": caption },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((column) => h("th", { role: "columnheader", scope: "col", class: column.num ? "num" : "" }, column.label)))),
    h("tbody", { role: "rowgroup" }, rows.map((row) => tableRow(columns, row))));
}

export function tableRow(columns, row, props = {}) {
  return h("tr", { role: "row", ...props }, columns.map((column) => {
    const held = column.cell(row);
    const nothing = held === undefined || held === null || held === "";
    return h("td", { role: "cell", "data-label": column.label, "data-empty": nothing ? "" : null, class: column.num ? "num" : column.tight ? "tight" : "" }, Array.isArray(held) ? h("span", {}, held) : held);
  }));
}

/** One limit: a bar, and the same in words. */
export function limitBar(limit) {
  const { amount: whole, spent, held, unit, window } = limit;
  if (window === "operation") {
    return h("div", { class: "bar" }, h("div", { class: "words" }, h("strong", {}, `at most ${amount(whole, unit)} ${WINDOWS[window]}`)));
  }
  const total = Math.max(Number(whole), Number(spent) + Number(held), 1e-9);
  const share = Number(whole) > 0 ? Number(spent) / Number(whole) : 1;
  const tone = share >= 1 ? "full" : share >= 0.75 ? "near" : "";
  const words = `${amountOf(spent, whole, unit)} ${WINDOWS[window]}`;
  return h("div", { class: `bar ${tone}` },
    h("div", { class: "words" }, h("strong", {}, words), h("span", {}, share >= 1 ? "spent" : percent(spent, whole))),
    h("div", { class: "track", role: "meter", "aria-label": words, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.min(100, Math.round(share * 100)) },
      h("span", { class: "spent", style: { width: `${(100 * Number(spent)) / total}%` } }),
      h("span", { class: "held", style: { width: `${(100 * Number(held)) / total}%` } })),
    h("div", { class: "words" },
      h("span", {}, Number(held) > 0 ? `${amount(held, unit)} held` : "nothing held"),
      h("span", { title: moment(limit.resets_at) }, limit.resets_at ? `starts afresh ${away(limit.resets_at)}` : "")));
}

/** Nothing is here yet: why, and what to run. */
export function empty(title, text, command) {
  return h("div", { class: "empty" }, h("h3", {}, title), h("p", {}, text), command ? h("pre", { tabindex: 0 }, command) : null);
}

export function skeleton(text = "Loading") {
  return h("p", { class: "skeleton" }, text);
}

/** What went wrong, in words, and a way on. */
export function trouble(error, again) {
  const words = error instanceof ApiError ? explain(error) : String(error?.message ?? error);
  return h("div", { class: "notice bad", role: "alert" }, h("p", {}, words),
    error?.traceId ? h("p", { class: "small" }, `Trace ${error.traceId}`) : null,
    again ? h("div", {}, h("button", { type: "button", class: "plain", on: { click: again } }, "Try again")) : null);
}

export function explain(error) {
  if (!(error instanceof ApiError)) return String(error?.message ?? error);
  const fields = error.fields.map((one) => `${one.loc}: ${one.msg}`).join("; ");
  if (error.status === 403) return `You may not do this: ${error.message}.`;
  if (error.status === 404) return `Not found: ${error.message}.`;
  if (error.status === 429) return `Too many tries: ${error.message}.${error.retryAfterS ? ` Again in ${error.retryAfterS} s.` : ""}`;
  if (error.status === 503) return `A part of hookbus is away: ${error.message}. The page Health says which.`;
  return `${capital(error.message)}.${fields ? ` ${fields}` : ""}`;
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A part of a page that loads by itself: place held, then content, or the trouble with a way to try again. */
export function loading(load, { height } = {}) {
  const place = h("div", { "aria-busy": "true", style: height ? { "min-height": height } : {} }, skeleton());
  const run = async () => {
    place.setAttribute("aria-busy", "true");
    try {
      fill(place, await load());
    } catch (error) {
      if (error instanceof SignedOut) return dispatchEvent(new CustomEvent("hookbus:signed-out", { detail: error.message }));
      fill(place, trouble(error, run));
    } finally {
      place.removeAttribute("aria-busy");
    }
  };
  place.reload = run;
  run();
  return place;
}

/** A part that is asked for again and again while the page is open. Where that fails, what was there stays, with a word on
 * how old it is; the next answer takes the word away. */
export function polled(load, { signal, everyMs, height }) {
  const place = h("div", { class: "stack", "aria-busy": "true", style: height ? { "min-height": height } : {} }, skeleton());
  let shownAt = null;
  let asking = false;
  const run = async () => {
    if (asking) return;
    asking = true;
    try {
      fill(place, await load());
      shownAt = new Date();
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof SignedOut) return dispatchEvent(new CustomEvent("hookbus:signed-out", { detail: error.message }));
      const notice = trouble(error, run);
      if (shownAt === null) return fill(place, notice);
      notice.classList.add("stale");
      notice.prepend(h("p", {}, `Not asked anew: what stands below is of ${moment(shownAt)}.`));
      place.querySelector(":scope > .stale")?.remove();
      place.prepend(notice);
    } finally {
      asking = false;
      place.removeAttribute("aria-busy");
    }
  };
  const timer = setInterval(() => { if (!document.hidden) run(); }, everyMs);
  signal.addEventListener("abort", () => clearInterval(timer));
  run();
  return place;
}

const SAID_MS = 6000;

/** A short word at the edge of the screen, read out as well. */
export function say(text) {
  const line = h("p", {}, text);
  document.getElementById("said").append(line);
  setTimeout(() => line.remove(), SAID_MS);
}

/** A form whose fields are labels with inputs; `submit` gets its values and may throw. Errors stand in the form. */
export function form(fields, { submit, label, kind = "", classes = "fields", extra = [] }) {
  const wrong = h("div", { class: "wide" });
  const button = h("button", { type: "submit", class: kind }, label);
  const made = h("form", { class: classes, on: { submit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(wrong);
    for (const one of made.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
    try {
      await submit(Object.fromEntries(new FormData(made)), made);
    } catch (error) {
      if (error instanceof SignedOut) dispatchEvent(new CustomEvent("hookbus:signed-out", { detail: error.message }));
      else fill(wrong, h("div", { class: "notice bad", role: "alert" }, explain(error)));
      for (const one of error.fields ?? []) made.elements[one.loc]?.setAttribute?.("aria-invalid", "true");
    } finally {
      button.disabled = false;
    }
  } } }, fields, h("div", { class: "row" }, button, extra), wrong);
  return made;
}

export function field(name, label, props = {}, note) {
  return h("label", { class: props.wide ? "wide" : "" }, label, h("input", { name, ...props, wide: null }), note ? h("span", { class: "note" }, note) : null);
}

/** Several of a few, as boxes to tick; a form's `getAll(name)` has those that are. */
export function choices(name, label, options, chosen = []) {
  return h("fieldset", { class: "wide" }, h("legend", {}, label), h("div", { class: "row" }, options.map(([value, text, title]) => h("label", { class: "tick", title }, h("input", { type: "checkbox", name, value, checked: chosen.includes(value) }), text))));
}

export function choice(name, label, options, chosen) {
  return h("label", {}, label, h("select", { name }, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text))));
}

/** What is shown this once: a key, a one-time password. Goes when it was taken note of. */
export function secret({ title, text, value }) {
  const code = h("code", { class: "secret", tabindex: 0 }, value);
  const copy = h("button", { type: "button", class: "plain", on: { click: async () => {
    try {
      await navigator.clipboard.writeText(value);
      say("Copied.");
    } catch {
      getSelection().selectAllChildren(code); // no clipboard over plain HTTP from another machine
      say("Selected: copy it with the keyboard.");
    }
  } } }, "Copy");
  const place = h("section", { class: "notice good", role: "status" }, h("h3", {}, title), h("p", {}, text), code,
    h("div", { class: "row" }, copy, h("button", { type: "button", class: "plain", on: { click: () => place.remove() } }, "I have it")));
  return place;
}

/** Ask before doing. Resolves with the form's values, or null. */
export function ask({ title, text, fields = [], label, danger = false }) {
  return new Promise((resolve) => {
    let answer = null;
    const dialog = h("dialog", { "aria-labelledby": "ask-title", on: { close: () => { dialog.remove(); resolve(answer); } } },
      h("form", { method: "dialog", on: { submit: (event) => { event.preventDefault(); answer = Object.fromEntries(new FormData(event.target)); dialog.close(); } } },
        h("h2", { id: "ask-title" }, title), text ? h("p", { class: "break" }, text) : null, fields,
        h("div", { class: "row end" },
          h("button", { type: "button", class: "plain", on: { click: () => dialog.close() } }, "Cancel"),
          h("button", { type: "submit", class: danger ? "danger sure" : "" }, label))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== undefined && value !== null && value !== "").map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export function tile(label, value, small) {
  return h("div", { class: "tile" }, h("dl", {}, h("dt", {}, label), h("dd", {}, value, small ? h("small", {}, small) : null)));
}

export function card(title, ...children) {
  return h("section", { class: "card" }, title ? h("h2", {}, title) : null, children);
}

/** A card around a table, without padding of its own. */
export function board(title, tools, ...children) {
  return h("section", { class: "card flush" }, h("header", {}, h("h2", {}, title), tools), children);
}
