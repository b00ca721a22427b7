// Audit: who did what, with filters that are kept in the address.

import { personUrl, photoUrl } from "../lib/api.js";
import { choose, current, onCollection } from "../lib/collection.js";
import { byId, h, icon, named, put } from "../lib/dom.js";
import { pagedList } from "../lib/paging.js";
import { empty } from "../lib/states.js";
import { has, t } from "../lib/texts.js";
import { moment, time } from "../lib/time.js";

const KINDS = { done: null, refused: "warning", failed: "bad" };
// The API's parameters, and the fields that hold them.
const FIELDS = { actor: "audit-actor", action: "audit-action", outcome: "audit-outcome", subject: "audit-subject", since: "audit-since", until: "audit-until" };
const MOMENTS = new Set(["since", "until"]);
const PAUSE = 400;
const ID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;

const list = byId("audit-list");

const words = (action) => (has(`audit.actions.${action}`) ? t(`audit.actions.${action}`) : action);

// As <input type=datetime-local> writes it, where somebody sits.
function local(iso) {
  const when = new Date(iso);
  return Number.isNaN(when.getTime()) ? "" : new Date(when.getTime() - when.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function filters() {
  const query = {};
  for (const [name, id] of Object.entries(FIELDS)) {
    const value = byId(id).value.trim();
    query[name] = value && MOMENTS.has(name) ? new Date(value).toISOString() : value;
  }
  return { ...query, collection: current() };
}

function keep() {
  const entries = Object.entries(filters()).filter(([, value]) => value);
  const text = new URLSearchParams(entries).toString();
  history.replaceState(null, "", text ? `/audit?${text}` : "/audit");
  byId("audit-csv").href = `/api/v1/audit.csv${text ? `?${text}` : ""}`;
  byId("audit-reset").hidden = !entries.length;
  byId("audit-further").dataset.used = String(["subject", "since", "until"].some((name) => byId(FIELDS[name]).value));
  const note = byId("audit-collection");
  put(note, current() ? [t("audit.of_collection", { name: current() }), " ", h("button", { type: "button", class: "link", onclick: () => choose("") }, t("audit.of_all"))] : null);
  note.hidden = !current();
}

function take() {
  const asked = new URLSearchParams(location.search);
  for (const [name, id] of Object.entries(FIELDS)) {
    const value = asked.get(name) ?? "";
    const field = byId(id);
    // A link may ask for an action that the list does not have.
    if (field.matches("select") && ![...field.options].some((option) => option.value === value)) field.append(h("option", { value }, value));
    field.value = MOMENTS.has(name) && value ? local(value) : value;
  }
  if (["subject", "since", "until"].some((name) => asked.get(name))) byId("audit-further").open = true;
  const collection = asked.get("collection");
  if (collection !== null && collection !== current()) choose(collection);
}

const only = (id, value) => () => {
  byId(id).value = value;
  if (id === FIELDS.subject) byId("audit-further").open = true;
  reload();
  scrollTo({ top: 0 });
};

const fact = (label, ...value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));

function subject({ action, subject: id }) {
  if (!id) return null;
  const opens = action.startsWith("photo.") && ID.test(id) && action !== "photo.add" ? photoUrl(id) : /^person\.(?!erase)/.test(action) && ID.test(id) ? personUrl(id) : null;
  return [opens ? h("a", { href: opens }, h("code", {}, id)) : h("code", {}, id), " ",
    h("button", { type: "button", class: "link", onclick: only(FIELDS.subject, id) }, t("audit.only_subject"))];
}

function details(values) {
  const told = Object.entries(values);
  if (!told.length) return h("span", { class: "muted" }, t("audit.no_details"));
  return h("ul", { class: "details" }, told.map(([name, value]) =>
    h("li", {}, h("code", {}, name), " ", h("bdi", {}, value !== null && typeof value === "object" ? JSON.stringify(value) : String(value)))));
}

function draw(entry) {
  const who = h("span", { class: "who" }, named(entry.actor_name), h("span", { class: "muted small" }, t(`audit.kinds.${entry.actor_kind}`)));
  const facts = () => h("dl", { class: "facts" },
    fact(t("audit.columns.when"), moment(entry.at), h("p", { class: "help" }, entry.at)),
    fact(t("audit.action"), words(entry.action), h("p", { class: "help" }, h("code", {}, entry.action))),
    fact(t("audit.columns.who"), h("bdi", { dir: "auto" }, entry.actor_name), " ",
      h("button", { type: "button", class: "link", onclick: only(FIELDS.actor, entry.actor_id ?? entry.actor_name) }, t("audit.only_actor"))),
    entry.address ? fact(t("audit.address"), h("code", {}, entry.address)) : null,
    entry.collection ? fact(t("audit.collection"), h("bdi", {}, entry.collection)) : null,
    entry.subject ? fact(t("audit.subject"), subject(entry)) : null,
    fact(t("audit.details"), details(entry.details)),
    entry.request_id ? fact(t("audit.request"), h("code", {}, entry.request_id)) : null);
  const place = h("div", { class: "entry-body" });
  const fold = h("details", { class: "entry", ontoggle: () => fold.open && !place.firstChild && place.append(facts()) },
    h("summary", {}, h("span", { class: "when" }, time(entry.at)), who, h("span", { class: "what" }, words(entry.action)),
      h("span", { class: "where muted" }, entry.collection ? h("bdi", {}, entry.collection) : null),
      h("span", { class: "ended" }, entry.outcome === "done" ? h("span", { class: "muted small" }, t("audit.outcomes.done")) : h("span", { class: "chip", "data-kind": KINDS[entry.outcome] }, t(`audit.outcomes.${entry.outcome}`))),
      icon("down")), place);
  return h("li", { "data-id": entry.id }, fold);
}

const entries = list && pagedList({
  place: list, path: "/audit", kind: "line", query: filters, items: (answer) => answer.entries, draw,
  empty: () => empty({ icon: "audit", title: t(byId("audit-reset").hidden ? "audit.none" : "audit.none_fits"), text: t("audit.none_fits_help") }),
  loaded: (answer, first) => (byId("audit-head").hidden = first && !answer.entries.length),
});

function reload() {
  keep();
  return entries.reload();
}

if (list) {
  let timer = null;
  take();
  onCollection(reload);
  for (const id of Object.values(FIELDS)) byId(id).addEventListener("change", reload);
  byId(FIELDS.actor).addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(reload, PAUSE);
  });
  byId("audit-filters").addEventListener("submit", (event) => {
    event.preventDefault();
    reload();
  });
  byId("audit-reset").addEventListener("click", () => {
    for (const id of Object.values(FIELDS)) byId(id).value = "";
    if (current()) choose("");
    else reload();
    byId(FIELDS.actor).focus();
  });
  reload();
}
