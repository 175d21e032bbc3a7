// Starts the console: who is it, which page, and what happens when either changes.

import { get } from "./api.js";
import { base, fill } from "./dom.js";
import * as live from "./live.js";
import { skeleton, trouble, page as frame } from "./parts.js";
import * as session from "./session.js";
import { wireTheme } from "./switch.js";
import * as account from "./pages/account.js";
import * as audit from "./pages/audit.js";
import * as budgets from "./pages/budgets.js";
import * as deadletters from "./pages/deadletters.js";
import * as health from "./pages/health.js";
import * as keys from "./pages/keys.js";
import * as now from "./pages/now.js";
import * as people from "./pages/people.js";
import * as security from "./pages/security.js";
import * as sessions from "./pages/sessions.js";
import * as signin from "./pages/signin.js";
import * as traces from "./pages/traces.js";

const PAGES = { "": now, budgets, sessions, audit, security, traces, deadletters, people, keys, health, account };

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const menu = document.getElementById("menu");
let leave = null;
let confirming = false;

function parts() {
  return location.pathname.slice(base().length).split("/").filter(Boolean).map(decodeURIComponent);
}

async function show({ focus = false } = {}) {
  leave?.abort();
  leave = new AbortController();
  const [name = "", ...rest] = parts();
  const module = PAGES[name];
  mark(module ? name : null);
  closeMenu();
  document.title = `${module?.TITLE ?? "Not found"} · hookbus`;
  const context = { rest, query: new URLSearchParams(location.search), signal: leave.signal, go, refresh: show };
  if (!module) fill(main, frame("Not found", "There is no such page in the console."));
  else if (module.SCOPES.length && !module.SCOPES.some(session.may)) fill(main, frame(module.TITLE, null, notYours(module.SCOPES)));
  else {
    try {
      fill(main, module.render(context));
    } catch (error) {
      fill(main, frame(module.TITLE, null, trouble(error, show)));
    }
  }
  if (focus) { scrollTo(0, 0); main.focus({ preventScroll: true }); }
}

function notYours(scopes) {
  return trouble(new Error(`Your role does not open this page: it takes the scope ${scopes.join(" or ")}. An administrator can give you another role.`));
}

function mark(name) {
  for (const anchor of nav.querySelectorAll("a")) {
    if (anchor.dataset.page === name) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
}

/** Go to a path below the console. */
export function go(path, { replace = false } = {}) {
  const target = path === "" ? base() : `${base()}/${path}`;
  history[replace ? "replaceState" : "pushState"](null, "", target);
  show({ focus: !replace });
}

function closeMenu() {
  nav.classList.remove("open");
  menu.setAttribute("aria-expanded", "false");
}

document.addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[href]");
  if (!anchor || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || anchor.hasAttribute("download")) return;
  const url = new URL(anchor.href);
  if (url.origin !== location.origin || !(url.pathname === base() || url.pathname.startsWith(`${base()}/`)) || url.hash) return;
  event.preventDefault();
  history.pushState(null, "", url);
  show({ focus: true });
});
addEventListener("popstate", () => { if (session.identity) show({ focus: true }); });
menu.addEventListener("click", () => menu.setAttribute("aria-expanded", String(nav.classList.toggle("open"))));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && nav.classList.contains("open")) { closeMenu(); menu.focus(); }
});
document.getElementById("sign-out").addEventListener("click", async () => { await session.signOut(); signedOut(); });
addEventListener("hookbus:signed-out", ({ detail }) => { session.forget(); signedOut(detail || "Your session has ended. Sign in again."); });
addEventListener("hookbus:confirm", () => {
  if (confirming) return; // several requests may be told so at once: what is typed into the form stays
  confirming = true;
  leave?.abort();
  live.stop();
  dress(false);
  document.title = "Confirm · hookbus";
  fill(main, signin.renderConfirmation({ done: signedIn }));
});
session.onElsewhere(() => signedOut("You signed out in another tab."));
wireTheme(document.getElementById("theme"));

function dress(signedIn) {
  document.body.className = signedIn ? "in" : "out";
  document.getElementById("top").hidden = !signedIn;
  nav.hidden = !signedIn;
  if (!signedIn) return;
  for (const anchor of nav.querySelectorAll("a")) {
    const { SCOPES } = PAGES[anchor.dataset.page];
    anchor.parentElement.hidden = SCOPES.length > 0 && !SCOPES.some(session.may);
  }
  const who = document.getElementById("who");
  fill(who, session.identity.username);
}

function signedOut(why) {
  confirming = false;
  leave?.abort();
  live.stop();
  dress(false);
  document.title = "Sign in · hookbus";
  fill(main, signin.render({ why, done: signedIn }));
}

async function signedIn({ focus = true } = {}) {
  confirming = false;
  fill(main, skeleton());
  await session.learn(get);
  dress(true);
  live.start();
  await show({ focus });
}

async function begin() {
  if (!session.isKept()) return signedOut();
  try {
    await signedIn({ focus: false });
  } catch (error) {
    if (error instanceof session.SignedOut) return signedOut(error.message);
    if (error.code === "confirm_required") return; // its form is there already
    document.body.className = "out";
    return fill(main, trouble(error, begin));
  }
}

begin();
