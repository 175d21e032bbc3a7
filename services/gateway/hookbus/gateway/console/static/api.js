// Calls of the public API under /api/v1, as any client makes them.

import { ApiError, SignedOut, failure, spoilt, token } from "./session.js";

const ROOT = "/api/v1/";
const TIMEOUT_S = 30;

export const get = (path, query, options) => call("GET", path, { query, ...options });
export const post = (path, body, options) => call("POST", path, { body, ...options });
export const remove = (path, query) => call("DELETE", path, { query });

async function call(method, path, { query, body, text = false, timeoutS = TIMEOUT_S, signal } = {}) {
  const wanted = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const url = `${ROOT}${path}${wanted.length ? `?${new URLSearchParams(wanted)}` : ""}`;
  for (let attempt = 0; ; attempt += 1) {
    const bearer = await token();
    const answer = await send(url, {
      method,
      headers: { authorization: `Bearer ${bearer}`, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any([AbortSignal.timeout(timeoutS * 1000), ...(signal ? [signal] : [])]),
    });
    if (answer.status === 401 && attempt === 0) {
      spoilt(); // a password change elsewhere, or a clock that ran on: one new token, then it is over
      continue;
    }
    if (answer.status === 401) throw new SignedOut();
    if (!answer.ok) {
      const error = await failure(answer);
      if (error.code === "confirm_required") dispatchEvent(new Event("hookbus:confirm"));
      throw error;
    }
    return text ? answer.text() : answer.json();
  }
}

async function send(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (options.signal.aborted && error.name === "AbortError") throw error;
    throw new ApiError(0, { detail: error.name === "TimeoutError" ? "the gateway did not answer in time" : "the gateway cannot be reached", code: "unreachable" });
  }
}
