// Events as they come, over the stream. The newest lie here, so that a page that opens later has something to show at
// once. While the stream is away the newest entries of the log are asked for instead, and the top bar says so.

import { get } from "./api.js";
import { fill } from "./dom.js";
import { SignedOut, may, token } from "./session.js";

const KEPT_MAX = 300;
const BEGIN_WITH = 60;
const RETRY_FIRST_MS = 1000;
const RETRY_MAX_MS = 10_000;
const CLOSE_UNAUTHENTICATED = 4401;
const CLOSE_FORBIDDEN = 4403;

export const events = [];
const known = new Set();
const listeners = new Set();
let running = null;

/** Hear of new events, oldest of them first, until `signal` aborts. */
export function listen(handler, signal) {
  listeners.add(handler);
  signal.addEventListener("abort", () => listeners.delete(handler));
}

/** Whether the signed-in role hears of events at all. */
export function allowed() {
  return may("audit") || may("session");
}

export function start() {
  stop();
  if (!allowed()) return;
  running = new AbortController();
  follow(running.signal);
}

export function stop() {
  running?.abort();
  running = null;
  events.length = 0;
  known.clear();
  state("");
}

function state(word) {
  const place = document.getElementById("live");
  if (place.dataset.state === word) return;
  place.dataset.state = word;
  fill(place, { live: "live", reconnecting: "live: reconnecting", "": "" }[word]);
}

function take(found) {
  const fresh = found.filter((event) => event?.id && !known.has(event.id));
  if (fresh.length === 0) return;
  for (const event of fresh) known.add(event.id);
  events.push(...fresh);
  for (const gone of events.splice(0, Math.max(0, events.length - KEPT_MAX))) known.delete(gone.id);
  for (const handler of listeners) handler(fresh);
}

async function follow(signal) {
  let pause = RETRY_FIRST_MS;
  while (!signal.aborted) {
    state("reconnecting");
    try {
      const bearer = await token();
      if (signal.aborted) return;
      const code = await listenTo(bearer, signal, () => { pause = RETRY_FIRST_MS; });
      if (signal.aborted) return;
      if (code === CLOSE_FORBIDDEN) return state("");
      state("reconnecting");
      // Over, changed, or to be confirmed: the answer to a request says which, and the page does what it takes.
      if (code === CLOSE_UNAUTHENTICATED) await get("session/me", {}, { signal });
      await catchUp(signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof SignedOut) return dispatchEvent(new CustomEvent("hookbus:signed-out", { detail: error.message }));
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(RETRY_MAX_MS, pause * 2);
  }
}

/** One connection, from its first message to its end; the code it was closed with. */
function listenTo(bearer, signal, opened) {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/stream`);
    const leave = () => socket.close();
    signal.addEventListener("abort", leave);
    socket.addEventListener("open", () => socket.send(JSON.stringify({ token: bearer })));
    socket.addEventListener("message", async ({ data }) => {
      if (signal.aborted) return;
      const message = JSON.parse(data);
      if (message.stream !== "open") return take([message]);
      await catchUp(signal).catch(() => undefined);
      if (!signal.aborted && socket.readyState === WebSocket.OPEN) { opened(); state("live"); }
    });
    socket.addEventListener("close", ({ code }) => { signal.removeEventListener("abort", leave); resolve(code); });
  });
}

/** What the log got while nobody listened. */
async function catchUp(signal) {
  if (!may("audit")) return;
  const { entries } = await get("audit/entries", { order: "newest", limit: BEGIN_WITH }, { signal });
  if (!signal.aborted) take(entries.map((entry) => entry.event).reverse());
}
