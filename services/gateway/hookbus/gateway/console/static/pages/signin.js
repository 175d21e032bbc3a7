// Sign-in, the code of a second factor where it is asked for, and the change of a one-time password.

import { fill, h } from "../dom.js";
import { field, form } from "../parts.js";
import { changePassword, confirm, signIn } from "../session.js";

const PASSWORD_CHARS_MIN = 12;

/** The password once more, for a session that went on in a client unlike the one it began in. */
export function renderConfirmation({ done }) {
  const code = codeField();
  const made = form([
    field("password", "Password", { type: "password", autocomplete: "current-password", required: true, maxlength: 256 }), code,
  ], { label: "Go on", classes: "fields one card", submit: async ({ password, totp }) => {
    try {
      await confirm(password, totp);
    } catch (error) {
      throw askedFor(code, error);
    }
    await done();
  } });
  queueMicrotask(() => made.elements.password.focus());
  return h("div", { class: "stack" }, h("h1", {}, "Is it still you?"), h("p", { class: "soft" }, "This session goes on from another browser or network than the one it began in. Give its password again."), made);
}

function codeField() {
  return h("div", { hidden: true }, field("totp", "One-time code", { inputmode: "numeric", autocomplete: "one-time-code", pattern: "[0-9]{6}", maxlength: 6 }, "Six digits from your authenticator application."));
}

/** Show the field of the code where the answer asks for one; the error to show with it. */
function askedFor(code, error) {
  if (!code.hidden || !error.fields?.some((one) => one.loc === "totp")) return error;
  code.hidden = false;
  code.querySelector("input").focus();
  return new Error("This name has a second factor: enter its code.");
}

export function render({ why, done }) {
  const place = h("div", { class: "stack" });
  fill(place, h("h1", {}, "Sign in to hookbus"), why ? h("p", { class: "notice warn", role: "status" }, why) : null, first());
  return place;

  function first() {
    const code = codeField();
    const made = form([
      field("username", "Name", { autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true, maxlength: 128 }),
      field("password", "Password", { type: "password", autocomplete: "current-password", required: true, maxlength: 256 }),
      code,
    ], {
      label: "Sign in", classes: "fields one card",
      submit: async ({ username, password, totp }) => {
        let change;
        try {
          change = await signIn(username, password, totp);
        } catch (error) {
          throw askedFor(code, error);
        }
        if (change) fill(place, renewal(username, password));
        else await done();
      },
    });
    queueMicrotask(() => made.elements.username.focus());
    return [made, h("p", { class: "small soft" }, "The first administrator's name and one-time password are in the file admin.json of the data folder. ", h("code", {}, "hookbus user add NAME"), " makes more people.")];
  }

  function renewal(username, current) {
    const made = form([
      h("input", { type: "text", name: "username", value: username, autocomplete: "username", hidden: true }),
      field("next", "New password", { type: "password", autocomplete: "new-password", required: true, minlength: PASSWORD_CHARS_MIN, maxlength: 256 }, `At least ${PASSWORD_CHARS_MIN} characters, and none that was seen in a breach.`),
      field("again", "The same again", { type: "password", autocomplete: "new-password", required: true, maxlength: 256 }),
    ], {
      label: "Change the password and go on", classes: "fields one card",
      submit: async ({ next, again }) => {
        if (next !== again) throw new Error("The two passwords differ.");
        await changePassword(current, next);
        await done();
      },
    });
    queueMicrotask(() => made.elements.next.focus());
    return [h("h1", {}, "Choose a password"), h("p", { class: "soft" }, "The one you signed in with works once. Everything else opens when you have one of your own."), made];
  }
}
