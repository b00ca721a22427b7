// The dialogs about one key: make it, change it.

import { patch, post } from "../lib/api.js";
import { open } from "../lib/dialogs.js";
import { h } from "../lib/dom.js";
import { t } from "../lib/texts.js";
import { reachField } from "./reach.js";

export const SCOPES = ["read", "write", "enrol", "erase", "admin"];
const SERVICES = ["recognition", "detection", "verification"];
const DAYS = [30, 90, 365];
const DAY = 86_400_000;

const field = (control, label, help = null) => {
  const told = help && h("p", { class: "help", id: `${control.id}-help` }, help);
  if (told) control.setAttribute("aria-describedby", told.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, told);
};
const choose = (id, options, value) => {
  const select = h("select", { id }, options.map(([name, text]) => h("option", { value: name }, text)));
  select.value = value;
  return select;
};
const problem = (key) => Object.assign(new Error(t(key)), { code: key });

function scopeBoxes(chosen) {
  const boxes = SCOPES.map((name) => h("input", { type: "checkbox", name: "scope", value: name, checked: chosen.includes(name) }));
  const element = h("fieldset", {}, h("legend", {}, t("keys.form.scopes")), boxes.map((box) =>
    h("label", { class: "choice" }, box, h("span", {}, h("code", {}, box.value)), h("span", { class: "help" }, t(`keys.allows.${box.value}`)))));
  return { element, value: () => boxes.filter((box) => box.checked).map((box) => box.value) };
}

// The end of the day, where somebody sits.
const endOf = (date) => new Date(`${date}T23:59:59`);
const localDate = (when) => new Date(when.getTime() - when.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);

function expiryField(value) {
  const before = value ? new Date(value) : null;
  const date = h("input", { id: "key-expires-on", type: "date", "aria-label": t("keys.form.last_day"), value: before ? localDate(before) : null });
  const select = choose("key-expires", [["never", t("keys.form.never")], ...DAYS.map((n) => [String(n), t("keys.form.in_days", { n })]), ["date", t("keys.form.on_date")]],
    before ? "date" : "never");
  const show = () => (date.hidden = select.value !== "date");
  select.addEventListener("change", show);
  show();
  return {
    element: h("div", { class: "field" }, h("label", { for: select.id }, t("keys.form.expires")), select, date),
    value() {
      if (select.value === "never") return null;
      if (select.value !== "date") return new Date(Date.now() + Number(select.value) * DAY).toISOString();
      if (!date.value) throw problem("keys.form.date_missing");
      return before && date.value === localDate(before) ? value : endOf(date.value).toISOString();
    },
  };
}

function limitField(value) {
  const number = h("input", { id: "key-limit-number", type: "number", min: 1, max: 1_000_000, step: 1, inputmode: "numeric", "aria-label": t("keys.form.per_minute"), value: value || null });
  const select = choose("key-limit", [["own", t("keys.form.limit_usual")], ["none", t("keys.form.limit_none")], ["number", t("keys.form.limit_number")]],
    value === null || value === undefined ? "own" : value === 0 ? "none" : "number");
  const show = () => (number.hidden = select.value !== "number");
  select.addEventListener("change", show);
  show();
  return {
    element: h("div", { class: "field" }, h("label", { for: select.id }, t("keys.form.limit")), select, number),
    value() {
      if (select.value !== "number") return select.value === "own" ? null : 0;
      if (!(Number(number.value) >= 1)) throw problem("keys.form.limit_missing");
      return Number(number.value);
    },
  };
}

function fieldsOf(key) {
  const name = h("input", { id: "key-name-new", maxlength: 100, required: true, autocomplete: "off", dir: "auto", value: key?.name ?? "" });
  const scopes = scopeBoxes(key?.scopes ?? ["read"]);
  const reach = reachField({ value: key?.collections ?? null, legend: t("keys.form.reach"), help: { all: t("keys.form.reach_all"), some: t("keys.form.reach_some") } });
  const expires = expiryField(key?.expires_at ?? null);
  const limit = limitField(key?.requests_per_minute);
  return { name, scopes, reach, expires, limit };
}

const valuesOf = ({ name, reach, expires, limit }, single) => {
  const collections = reach.value();
  if (single && collections.length !== 1) throw problem("keys.form.one_collection");
  if (collections && !collections.length) throw problem("keys.form.collection_missing");
  return { name: name.value, collections, expires_at: expires.value(), requests_per_minute: limit.value() };
};
const scopesOf = ({ scopes }) => {
  const chosen = scopes.value();
  if (!chosen.length) throw problem("keys.form.scope_missing");
  return chosen;
};

const shown = async (title, content, yes, run) => {
  const answer = open({ title, id: "key-form", content,
    actions: [{ text: t("frame.cancel") }, { text: yes, kind: "primary", submit: true, run }] });
  document.getElementById("key-form").classList.add("form");
  return answer;
};

/** Asks for a new key; resolves to the API's answer, with the key's text, or null. */
export function makeKey() {
  const fields = fieldsOf(null);
  const service = choose("key-service", [["", t("keys.form.for_api")], ...SERVICES.map((name) => [name, t(`keys.services.${name}`)])], "");
  const old = h("input", { id: "key-old", maxlength: 100, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const oldField = field(old, [t("keys.form.old"), " ", h("span", { class: "muted" }, t("frame.optional"))], t("keys.form.old_help"));
  const told = h("p", { class: "help" });
  const show = () => {
    const chosen = service.value;
    fields.scopes.element.hidden = Boolean(chosen);
    oldField.hidden = !chosen;
    told.textContent = chosen ? t("keys.form.service_help") : t("keys.form.api_help");
    fields.reach.only(Boolean(chosen));
  };
  service.addEventListener("change", show);
  show();
  const content = () => h("div", { class: "fields" },
    field(fields.name, t("keys.form.name"), t("keys.form.name_help")),
    h("div", { class: "field" }, h("label", { for: service.id }, t("keys.form.for")), service, told),
    oldField, fields.scopes.element, fields.reach.element,
    h("div", { class: "pair" }, fields.expires.element, fields.limit.element));
  return shown(t("keys.make"), content, t("keys.make"), () => {
    const body = valuesOf(fields, Boolean(service.value));
    if (!service.value) return post("/keys", { ...body, scopes: scopesOf(fields) });
    return post("/keys", { ...body, service: service.value, ...(old.value.trim() ? { api_key: old.value.trim() } : {}) });
  });
}

/** Asks what is to change about `key`; resolves to it as it is then, or null. */
export function changeKey(key, own) {
  const fields = fieldsOf(key);
  fields.reach.only(Boolean(key.service));
  const content = () => h("div", { class: "fields" },
    own ? h("p", { class: "banner", "data-kind": "warning" }, t("keys.form.own")) : null,
    field(fields.name, t("keys.form.name"), t("keys.form.name_help")),
    fields.scopes.element, fields.reach.element,
    h("div", { class: "pair" }, fields.expires.element, fields.limit.element));
  return shown(t("keys.change"), content, t("keys.form.save"), () => {
    const wanted = { ...valuesOf(fields, Boolean(key.service)), scopes: scopesOf(fields) };
    const changed = Object.entries(wanted).filter(([name, value]) => JSON.stringify(sorted(value)) !== JSON.stringify(sorted(key[name])));
    return changed.length ? patch(`/keys/${key.id}`, Object.fromEntries(changed)) : key;
  });
}

const sorted = (value) => (Array.isArray(value) ? [...value].sort() : value);
