// Amounts, times and codes as people read them.

const TOKENS = new Intl.NumberFormat("en");
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const WINDOWS = {
  operation: "an operation", hour: "an hour", day: "a day", week: "a week", month: "a month", session: "a session", total: "in all",
};

/** `"100000"` tokens -> `100,000 tokens`; `"0.100000"` usd -> `$0.10`. Takes the API's decimal strings. */
export function amount(value, unit) {
  return unit === "usd" ? money(value) : `${count(value)} tokens`;
}

/** `1,500 of 100,000 tokens`. */
export function amountOf(part, whole, unit) {
  return unit === "usd" ? `${money(part)} of ${money(whole)}` : `${count(part)} of ${count(whole)} tokens`;
}

export function count(value) {
  return TOKENS.format(Number(value));
}

/** Two places, more where cents would hide something: up to the six the ledger keeps. */
export function money(value) {
  const number = Number(value);
  const size = Math.abs(number);
  const [whole, part] = size.toFixed(size === 0 || size >= 1 ? 2 : size >= 0.01 ? 4 : 6).split(".");
  return `${number < 0 ? "-" : ""}$${TOKENS.format(Number(whole))}.${part.replace(/0+$/, "").padEnd(2, "0")}`;
}

export function percent(part, whole) {
  if (Number(whole) <= 0) return "0 %";
  const share = (100 * Number(part)) / Number(whole);
  return `${share > 0 && share < 10 ? share.toFixed(1) : share.toFixed(0)} %`;
}

/** A moment in this browser's time zone. */
export function moment(text) {
  return text ? MOMENT.format(new Date(text)) : "";
}

/** The clock alone for today, the day with it for earlier. */
export function shortMoment(text) {
  if (!text) return "";
  const at = new Date(text);
  return at.toDateString() === new Date().toDateString() ? CLOCK.format(at) : `${DAY.format(at)} ${CLOCK.format(at)}`;
}

/** How long ago, or how long until. */
export function away(text, now = Date.now()) {
  if (!text) return "";
  const seconds = Math.round((new Date(text).getTime() - now) / 1000);
  const size = Math.abs(seconds);
  const words = size < 90 ? `${size} s` : size < 5400 ? `${Math.round(size / 60)} min` : size < 172800 ? `${Math.round(size / 3600)} h` : `${Math.round(size / 86400)} days`;
  return seconds <= 0 ? `${words} ago` : `in ${words}`;
}

export function duration(microseconds) {
  return microseconds < 1000 ? `${microseconds} µs` : microseconds < 1_000_000 ? `${(microseconds / 1000).toFixed(1)} ms` : `${(microseconds / 1_000_000).toFixed(2)} s`;
}

/** `session_killed` -> `session killed`. */
export function plain(code) {
  return String(code ?? "").replaceAll("_", " ").replaceAll("-", " ");
}

/** A session's risk in words, by the levels at which hookbus acts. */
export function risk(value) {
  if (value >= 0.9) return { words: "very high: ended at this level", tone: "bad" };
  if (value >= 0.7) return { words: "high: every operation is asked about", tone: "bad" };
  if (value >= 0.5) return { words: "raised: flagged", tone: "warn" };
  if (value >= 0.2) return { words: "slightly unusual", tone: "" };
  return { words: "nothing unusual", tone: "good" };
}

/** The word an event's kind is searched by: the hook kind, `security.<code>` or `audit.<code>`. */
export function kindOf(event) {
  return String(event?.type ?? "").replace(/^dev\.hookbus\./, "").replace(/\.v1$/, "");
}

export function traceOf(event) {
  return /^00-([0-9a-f]{32})-/.exec(event?.traceparent ?? "")?.[1];
}

const SUMMARY_CHARS_MAX = 160;

/** What an event was about, in one line. */
export function summary(event) {
  const data = event?.data ?? {};
  const input = data.tool_input ?? {};
  const parts = [data.tool ?? data.tool_name, input.command ?? input.file_path ?? input.url ?? input.pattern ?? input.description];
  if (kindOf(event) === "usage") {
    const tokens = ["input_tokens", "output_tokens", "cache_read_tokens"].reduce((sum, name) => sum + (Number(data[name]) || 0), 0);
    parts.push(data.model, `${count(tokens)} tokens`);
  }
  parts.push(data.username, data.reason, data.note, data.prompt, data.message, data.title, data.actor ? `by ${data.actor}` : null, Array.isArray(data.signals) ? data.signals.map((one) => one?.words ?? one).join("; ") : null);
  const text = parts.filter((part) => typeof part === "string" && part !== "").join(" · ");
  return text.length > SUMMARY_CHARS_MAX ? `${text.slice(0, SUMMARY_CHARS_MAX)}…` : text;
}
