// One's own account: password and second factor.

import { get } from "../api.js";
import { fill, h, svg } from "../dom.js";
import { badge, card, facts, field, form, loading, page, say } from "../parts.js";
import * as session from "../session.js";
import { count, moment } from "../words.js";

export const TITLE = "Your account";
export const SCOPES = [];

const PASSWORD_CHARS_MIN = 12;
const QUIET_ZONE = 4;

export function render() {
  const { identity } = session;
  const who = loading(async () => {
    const found = await get("session/account");
    return [facts([
      ["Name", found.username], ["Role", found.role], ["You may", identity.scopes.join(", ")],
      ["Password", found.password_changed_at ? `changed ${moment(found.password_changed_at)}` : null],
      ["Sessions", `${count(found.sessions)} open`], ["This one", h("code", { class: "small" }, identity.session)],
    ])];
  });
  return page(TITLE, null, card("Who you are", who), h("div", { class: "pair" }, card("Password", password(identity.username, who)), secondFactor()));
}

function password(username, who) {
  return form([
    h("input", { type: "text", name: "username", value: username, autocomplete: "username", hidden: true }),
    field("current", "Password now", { type: "password", autocomplete: "current-password", required: true, maxlength: 256 }),
    field("next", "New password", { type: "password", autocomplete: "new-password", required: true, minlength: PASSWORD_CHARS_MIN, maxlength: 256 }, `At least ${PASSWORD_CHARS_MIN} characters, and none that was seen in a breach. Your other sessions end.`),
    field("again", "The same again", { type: "password", autocomplete: "new-password", required: true, maxlength: 256 }),
  ], { label: "Change the password", classes: "fields one", submit: async ({ current, next, again }, made) => {
    if (next !== again) throw new Error("The two new passwords differ.");
    await session.changePassword(current, next);
    made.reset();
    who.reload();
    say("The password is changed; your other sessions have ended.");
  } });
}

function secondFactor() {
  const place = loading(async () => ((await get("session/account")).totp ? on() : off()));
  return card("Second factor", place);

  function off() {
    const wrong = h("div", {});
    const begin = h("button", { type: "button", on: { click: async () => {
      begin.disabled = true;
      try {
        fill(place, enrol(await session.beginSecondFactor()));
        place.querySelector("input").focus();
      } catch (error) {
        begin.disabled = false;
        fill(wrong, h("p", { class: "notice bad", role: "alert" }, error.message));
      }
    } } }, "Set it up");
    return h("div", { class: "stack" }, h("div", { class: "row" }, badge("off")),
      h("p", {}, "With one, a sign-in asks for a code of an authenticator application after the password. A stolen password alone then opens nothing."), h("div", {}, begin), wrong);
  }

  function enrol({ secret, uri, rows }) {
    return h("div", { class: "stack" },
      h("p", {}, "Scan this with an authenticator application, or ", h("a", { href: uri }, "open it in one on this device"), "."),
      picture(rows),
      h("details", {}, h("summary", {}, "Type it in instead"), h("p", { class: "small soft" }, "Time-based, 6 digits, 30 seconds, SHA-1:"), h("code", { class: "secret", tabindex: 0 }, secret.match(/.{1,4}/g).join(" "))),
      form([codeField("The code it shows now", "It counts from then on, not before.")], {
        label: "Confirm", classes: "fields one", extra: [h("button", { type: "button", class: "plain", on: { click: place.reload } }, "Cancel")],
        submit: async ({ code }) => {
          await session.settleSecondFactor("confirm", code);
          say("From now on a sign-in asks for a code.");
          place.reload();
        },
      }));
  }

  function on() {
    return h("div", { class: "stack" }, h("div", { class: "row" }, badge("on", "good")),
      h("p", {}, "A sign-in asks for a code of your authenticator application."),
      h("p", { class: "small soft" }, "Device lost? An administrator lets you back in with a new one-time password (People, or ", h("code", {}, "hookbus user passwd NAME --reset"), "); that removes the lost device as well. For a new device, take the old one away first."),
      form([codeField("A code, to take it away")], {
        label: "Take it away", kind: "danger", classes: "fields one",
        submit: async ({ code }) => {
          await session.settleSecondFactor("remove", code);
          say("A sign-in asks for no code any more.");
          place.reload();
        },
      }));
  }
}

function codeField(label, note) {
  return field("code", label, { inputmode: "numeric", autocomplete: "one-time-code", pattern: "[0-9]{6}", maxlength: 6, required: true }, note);
}

/** A QR code, dark on light in both themes: scanners expect it so. */
function picture(rows) {
  const size = rows.length + 2 * QUIET_ZONE;
  const dark = rows.flatMap((row, y) => [...row].map((bit, x) => (bit === "1" ? `M${x + QUIET_ZONE} ${y + QUIET_ZONE}h1v1h-1z` : ""))).join("");
  return svg("svg", { class: "qr", viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": "QR code for an authenticator application", "shape-rendering": "crispEdges" },
    svg("rect", { width: size, height: size, class: "light" }), svg("path", { d: dark, class: "dark" }));
}
