// Keys: who may do what here. A key's text is shown once, where it is made.

import { del, post } from "../lib/api.js";
import { open } from "../lib/dialogs.js";
import { byId, h, icon, named } from "../lib/dom.js";
import { tell } from "../lib/messages.js";
import { pagedList } from "../lib/paging.js";
import { empty } from "../lib/states.js";
import { number, t, tx } from "../lib/texts.js";
import { moment, time } from "../lib/time.js";
import { changeKey, makeKey, SCOPES } from "../admin/key_form.js";
import { showOnce } from "../admin/secret.js";
import { listSessions } from "../admin/sessions.js";

const KINDS = { active: "good", expired: "warning", revoked: null };
// Seconds that the text before works on.
const GRACES = { none: 0, hour: 3600, day: 86_400, week: 604_800 };
const SOME = 4;

const list = byId("keys-list");
const filter = list && byId("keys-state");

const cell = (label, ...children) => {
  const told = children.flat().filter((each) => each !== null);
  return h("td", { "data-label": label, class: told.length ? null : "none" }, told);
};

function draw(key) {
  const own = key.id === list.dataset.own;
  const row = h("tr", { "data-id": key.id, "data-faded": key.state !== "active" },
    h("td", { class: "name" }, named(key.name), " ", own ? h("span", { class: "chip", "data-kind": "good" }, t("keys.own")) : null,
      key.service ? h("p", { class: "help" }, t(`keys.services.${key.service}`)) : null),
    cell(t("keys.columns.scopes"), h("ul", { class: "chips" }, SCOPES.filter((scope) => key.scopes.includes(scope)).map((scope) => h("li", { class: "chip", title: t(`keys.allows.${scope}`) }, scope)))),
    cell(t("keys.columns.collections"), reach(key.collections)),
    cell(t("keys.columns.expires"), key.expires_at ? time(key.expires_at) : h("span", { class: "muted" }, t("keys.never"))),
    cell(t("keys.columns.used"), key.last_used_at ? time(key.last_used_at) : h("span", { class: "muted" }, t("keys.never_used"))),
    cell(t("keys.columns.limit"), limit(key.requests_per_minute)),
    cell(t("keys.columns.state"), h("span", { class: "chip", "data-kind": KINDS[key.state] }, t(`keys.states.${key.state}`)), graceOf(key)),
    key.state === "revoked" ? h("td", { class: "none" }) : h("td", {}, h("div", { class: "acts" },
      act("edit", t("keys.change"), key, () => change(key, own)),
      act("retry", t("keys.rotate"), key, () => rotate(key, own)),
      act("delete", t("keys.revoke"), key, () => revoke(key, own)))));
  return row;
}

const act = (picture, text, key, run) =>
  h("button", { type: "button", class: "quiet", title: text, "aria-label": `${text}: ${key.name}`, onclick: run }, icon(picture), h("span", { class: "label" }, text));

function reach(collections) {
  if (collections === null) return h("span", {}, t("reach.all"));
  const chips = collections.slice(0, SOME).map((name) => h("li", { class: "chip", title: name }, name));
  const more = collections.length - SOME;
  return h("ul", { class: "chips", title: collections.join(", ") }, chips, more > 0 ? h("li", { class: "muted small" }, t("keys.more", { n: more })) : null);
}

function limit(value) {
  if (value === null) return h("span", { class: "muted" }, t("keys.limit_usual"));
  return value === 0 ? t("keys.limit_none") : t("keys.limit", { n: value });
}

const graceOf = (key) =>
  key.previous_until && new Date(key.previous_until) > new Date() && key.state === "active"
    ? h("p", { class: "help" }, t("keys.both_until", { when: moment(key.previous_until) })) : null;

async function make() {
  const made = await makeKey();
  if (made) await tellOf(made, t("keys.made"));
}

// The text is nowhere but in the answer and in the dialog.
async function tellOf(answer, title) {
  const secret = answer.api_key;
  delete answer.api_key;
  await showOnce({ title, lead: tx("keys.made_lead", { name: named(answer.name) }), label: t("keys.text"), secret });
  await Promise.all([keys.reload(), sessions.reload()]);
}

async function change(key, own) {
  const changed = await changeKey(key, own);
  if (!changed) return;
  tell(t("keys.changed"), { kind: "good" });
  await keys.reload();
  list.querySelector(`[data-id="${key.id}"] button`)?.focus();
}

async function rotate(key, own) {
  const grace = h("select", { id: "key-grace" }, Object.keys(GRACES).map((name) => h("option", { value: name }, t(`keys.grace.${name}`))));
  grace.value = own ? "hour" : "none";
  const answer = await open({
    title: t("keys.rotate_title"),
    content: () => h("div", { class: "fields" },
      h("p", {}, tx("keys.rotate_lead", { name: named(key.name) })),
      own ? h("p", { class: "banner", "data-kind": "warning" }, t("keys.rotate_own")) : null,
      h("div", { class: "field" }, h("label", { for: grace.id }, t("keys.grace_label")), grace, h("p", { class: "help" }, t("keys.grace_help")))),
    actions: [{ text: t("frame.cancel") }, { text: t("keys.rotate"), kind: "primary", submit: true, run: () => post(`/keys/${key.id}/rotate`, { grace_seconds: GRACES[grace.value] }) }],
  });
  if (answer) await tellOf(answer, t("keys.rotated"));
}

async function revoke(key, own) {
  const done = await open({
    title: t("keys.revoke_title"),
    content: () => h("div", { class: "fields" }, h("p", {}, tx("keys.revoke_lead", { name: named(key.name) })),
      own ? h("p", { class: "banner", "data-kind": "bad" }, t("keys.revoke_own")) : null),
    actions: [{ text: t("frame.cancel") }, { text: t("keys.revoke"), kind: "danger", submit: true, run: () => del(`/keys/${key.id}`) }],
  });
  if (!done) return;
  if (own) {
    location.assign("/sign-in?next=/keys");
    return;
  }
  tell(tx("keys.revoked", { name: named(key.name) }), { kind: "good" });
  byId("keys-make").focus();
  await Promise.all([keys.reload(), sessions.reload()]);
}

function nothing() {
  if (filter.value) return empty({ icon: "keys", title: t("keys.none_fits"), text: t("keys.none_fits_help") });
  return empty({ icon: "keys", title: t("keys.none") });
}

const keys = list && pagedList({
  place: list, path: "/keys", kind: "row", draw, empty: nothing,
  query: () => ({ state: filter.value }),
  items: (answer) => answer.keys,
  loaded: (answer) => (byId("keys-count").textContent = answer.next_cursor ? "" : t("keys.count", { n: list.children.length, shown: number(list.children.length) })),
});

const sessions = list && listSessions(byId("sessions-list"));

if (list) {
  const asked = new URLSearchParams(location.search).get("state");
  if (asked !== null && [...filter.options].some((option) => option.value === asked)) filter.value = asked;
  filter.addEventListener("change", () => {
    history.replaceState(null, "", `/keys?state=${filter.value}`);
    keys.reload();
  });
  byId("keys-make").addEventListener("click", make);
  keys.reload();
  sessions.reload();
}
