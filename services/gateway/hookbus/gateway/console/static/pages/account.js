// One's own password.

import { h } from "../dom.js";
import { card, facts, field, form, page, say } from "../parts.js";
import * as session from "../session.js";

export const TITLE = "Your account";
export const SCOPES = [];

export function render() {
  const { identity } = session;
  const change = form([
    h("input", { type: "text", name: "username", value: identity.username, autocomplete: "username", hidden: true }),
    field("current", "Password now", { type: "password", autocomplete: "current-password", required: true, maxlength: 256 }),
    field("next", "New password", { type: "password", autocomplete: "new-password", required: true, minlength: 12, maxlength: 256 }, "At least 12 characters. Your other sessions end."),
  ], { label: "Change the password", classes: "fields one", submit: async ({ current, next }, made) => {
    await session.changePassword(current, next);
    made.reset();
    say("The password is changed; your other sessions have ended.");
  } });
  return page(TITLE, null,
    card("Who you are", facts([["Name", identity.username], ["Session", h("code", {}, identity.session)], ["You may", identity.scopes.join(", ")]])),
    card("Password", change));
}
