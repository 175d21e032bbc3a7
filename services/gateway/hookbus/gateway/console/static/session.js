// Who is signed in. The access token lives in this module's memory; the page's half of the refresh token lies in the
// origin's storage and is worthless without the cookie, which no script can read.

const KEPT = "hookbus.half";
const EARLY_S = 60;

let access = null;
let renewAt = 0;
let renewing = null;
export let identity = null;

export class SignedOut extends Error {}

export function may(scope) {
  return identity?.scopes.includes(scope) ?? false;
}

export function isKept() {
  return localStorage.getItem(KEPT) !== null;
}

/** A token that is good for a while yet. Throws SignedOut where there is none to be had. */
export async function token() {
  if (access !== null && Date.now() < renewAt) return access;
  if (!isKept()) throw new SignedOut();
  renewing ??= renew().finally(() => { renewing = null; });
  return renewing;
}

/** Throw the access token away: the gateway did not take it. */
export function spoilt() {
  access = null;
}

// One tab at a time: two that renew at once could end with one tab's half and the other's cookie.
async function renew() {
  return navigator.locks ? navigator.locks.request("hookbus.renew", exchange) : exchange();
}

async function exchange() {
  const half = localStorage.getItem(KEPT);
  if (half === null) throw new SignedOut();
  const answer = await post("refresh", { half });
  if (answer.status === 401 || answer.status === 403 || answer.status === 422) {
    const { code } = await failure(answer);
    forget();
    throw new SignedOut(code === "confirm_required" ? "This session went on in another browser or network. Sign in again to go on." : "");
  }
  if (!answer.ok) throw await failure(answer);
  return keep(await answer.json());
}

function keep(tokens) {
  access = tokens.access_token;
  renewAt = Date.now() + (tokens.expires_in - EARLY_S) * 1000;
  localStorage.setItem(KEPT, tokens.half);
  return access;
}

/** Sign in; whether the one-time password has to be changed first. */
export async function signIn(username, password, totp) {
  const answer = await post("login", { username, password, ...(totp ? { totp } : {}) });
  if (!answer.ok) throw await failure(answer);
  const tokens = await answer.json();
  keep(tokens);
  return tokens.must_change_password;
}

export async function changePassword(current, next) {
  const answer = await post("password", { current_password: current, new_password: next }, await token());
  if (!answer.ok) throw await failure(answer);
  keep(await answer.json());
}

/** Give the password again, where the session looks like another client's. */
export async function confirm(password, totp) {
  const answer = await post("confirm", { password, ...(totp ? { totp } : {}) }, await token());
  if (!answer.ok) throw await failure(answer);
  keep(await answer.json());
}

/** A secret for an authenticator application, with its picture as rows of dark and light. */
export async function beginSecondFactor() {
  const answer = await post("totp", {}, await token());
  if (!answer.ok) throw await failure(answer);
  return answer.json();
}

/** `how` is `confirm` or `remove`. A wrong code is answered like a bad token, and must not end the session here. */
export async function settleSecondFactor(how, code) {
  const answer = await send(`/api/v1/session/totp/${how}`, { code }, await token());
  if (!answer.ok) throw await failure(answer);
  return answer.json();
}

export async function learn(get) {
  identity = await get("session/me");
}

export async function signOut() {
  const bearer = access;
  forget();
  if (bearer !== null) await fetch("/api/v1/session/logout", { method: "POST", headers: { authorization: `Bearer ${bearer}` } }).catch(() => undefined);
}

export function forget() {
  access = null;
  identity = null;
  localStorage.removeItem(KEPT);
}

/** Another tab signed out, or in as somebody else. */
export function onElsewhere(handler) {
  addEventListener("storage", (event) => {
    if (event.key === KEPT && event.newValue === null) { access = null; identity = null; handler(); }
  });
}

const post = (name, body, bearer) => send(`/console/session/${name}`, body, bearer);

async function send(path, body, bearer) {
  const headers = { "content-type": "application/json", ...(bearer ? { authorization: `Bearer ${bearer}` } : {}) };
  try {
    return await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  } catch {
    throw new ApiError(0, { detail: "the gateway cannot be reached", code: "unreachable" });
  }
}

/** An answer that is no success, with the words of its problem document. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the gateway answered ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.fields = problem.errors ?? [];
    this.traceId = problem.trace_id ?? "";
    this.retryAfterS = problem.retryAfterS;
  }
}

export async function failure(answer) {
  let problem = {};
  try { problem = await answer.json(); } catch { /* no problem document: the status has to do */ }
  return new ApiError(answer.status, { ...problem, retryAfterS: Number(answer.headers.get("retry-after")) || undefined });
}
