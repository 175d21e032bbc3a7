// Who may sign in, as what, and the way back in for who lost a password or a device.

import { get, post, remove } from "../api.js";
import { fill, h, pathOf } from "../dom.js";
import { ask, badge, board, card, choice, empty, explain, field, form, loading, page, say, secret, table } from "../parts.js";
import * as session from "../session.js";
import { count, moment } from "../words.js";

export const TITLE = "People";
export const SCOPES = ["admin"];

const ROLES = [["viewer", "viewer"], ["auditor", "auditor"], ["operator", "operator"], ["admin", "administrator"]];

export function render() {
  const shown = h("div", {});
  const wrong = h("div", {});
  const list = loading(async () => {
    const { users } = await get("users");
    return users.length ? table("People", COLUMNS, users) : empty("Nobody yet", "The first start makes the first administrator.");
  });
  const COLUMNS = [
    { label: "Name", cell: (row) => [row.username, row.username === session.identity.username ? [" ", badge("you")] : null] },
    { label: "Role", cell: (row) => row.role },
    { label: "Password", cell: (row) => (row.disabled_at ? badge("disabled") : row.must_change_password ? badge("one-time", "warn") : "their own") },
    { label: "Second factor", cell: (row) => (row.totp ? badge("on", "good") : "off") },
    { label: "Sessions", num: true, cell: (row) => count(row.sessions) },
    { label: "Since", tight: true, cell: (row) => moment(row.created_at) },
    { label: "", cell: (row) => h("span", { class: "row" },
      h("button", { type: "button", class: "quiet", "aria-label": `New one-time password for ${row.username}`, on: { click: () => reset(row) } }, row.disabled_at ? "Let in again" : "New password"),
      row.disabled_at ? null : h("button", { type: "button", class: "quiet", "aria-label": `Disable ${row.username}`, on: { click: () => disable(row) } }, "Disable")) },
  ];
  return page(TITLE, "Who may sign in. What a role opens is the same here, on the command line and in the API.", shown, wrong,
    card("Let somebody in", form([
      field("username", "Name", { required: true, maxlength: 64, pattern: "[a-z0-9][a-z0-9._\\-]{0,63}", autocomplete: "off", autocapitalize: "none", spellcheck: "false" }),
      choice("role", "As", ROLES, "viewer"),
    ], { label: "Make the user", submit: async ({ username, role }, made) => {
      handOver(await post("users", { username: username.trim(), role }));
      made.reset();
    } }), h("p", { class: "small soft" }, "A viewer sees budgets, an auditor the log as well. An operator sets limits and kills sessions. An administrator does everything.")),
    board("People, by name", null, list));

  function handOver({ user, one_time_password: password }) {
    fill(wrong);
    fill(shown, secret({ title: `One-time password of ${user.username}`, text: "Hand it over now: it is not shown again. It signs in once, to choose another.", value: password }));
    list.reload();
  }

  async function reset(row) {
    const sure = await ask({
      title: `A new one-time password for ${row.username}?`,
      text: "Their password, their second factor and their open sessions end. They sign in with the new one and choose another.",
      label: "Make a new password", danger: true,
    });
    if (sure !== null) await attempt(async () => handOver(await post(`users/${pathOf(row.username)}/reset`)));
  }

  async function disable(row) {
    const sure = await ask({ title: `Let ${row.username} in no more?`, text: "Their sessions end within a second. The log keeps their name.", label: "Disable", danger: true });
    if (sure === null) return;
    await attempt(async () => {
      await remove(`users/${pathOf(row.username)}`);
      fill(wrong);
      say(`${row.username} is disabled.`);
      list.reload();
    });
  }

  async function attempt(act) {
    try {
      await act();
    } catch (error) {
      fill(wrong, h("p", { class: "notice bad", role: "alert" }, explain(error)));
    }
  }
}
