// Where to look, and what counts: chosen on the page, kept in its address.

import { collections, current, onCollection } from "../../lib/collection.js";
import { byId, h, named, put } from "../../lib/dom.js";
import { t } from "../../lib/texts.js";
import { similarity } from "./words.js";

// More are looked through by typing.
const FEW = 10;

let threshold = null; // null: the pack's own
let minQuality = 0;
let minSize = 0;
let where = null; // null: what the header says
let own = null;
let changed = () => {};

/** What a search sends, beside where. */
export const values = () => ({ threshold, min_quality: minQuality, min_face_size: minSize });

/** Names of the collections to look in; none: there is not one yet. */
export async function places() {
  if (where) return where;
  return current() ? [current()] : collections();
}

/** Looks in every collection that the key reaches. */
export async function lookEverywhere() {
  const names = await collections();
  // Where the header says another, all of them are named.
  where = current() ? names : null;
  told();
  changed();
}

/** As a part of the page's address. */
export function query(more = {}) {
  const entries = Object.entries({
    ...more, threshold, min_quality: minQuality || null, min_face_size: minSize || null,
  }).filter(([, value]) => value !== null);
  const found = new URLSearchParams([...entries, ...(where ?? []).map((name) => ["collection", name])]).toString();
  return found ? `/search?${found}` : "/search";
}

const between = (text, least, most) => {
  const value = text === null || text === "" ? NaN : Number(text);
  return Number.isFinite(value) && value >= least && value <= most ? value : null;
};

/** Takes them from an address; what makes no sense there is left out. */
export function restore(search) {
  const asked = new URLSearchParams(search);
  threshold = between(asked.get("threshold"), -1, 1);
  minQuality = between(asked.get("min_quality"), 0, 1) ?? 0;
  minSize = between(asked.get("min_face_size"), 0, 100_000) ?? 0;
  const names = asked.getAll("collection").filter((name) => /^[a-z0-9_][a-z0-9_-]{0,63}$/.test(name));
  where = names.length ? [...new Set(names)] : null;
  told();
}

export function setThreshold(value) {
  threshold = value;
  told();
  changed();
}

export function setMinQuality(value) {
  minQuality = value;
  told();
  changed();
}

/** The pack's own threshold, as an answer told it. */
export function learn(answer) {
  own = answer.thresholds.likely;
  told();
}

/** Starts the fields; `listener()` is called whenever one of them is changed. */
export function start(listener) {
  changed = listener;
  const slider = byId("search-threshold");
  slider.addEventListener("input", () => (byId("search-threshold-value").textContent = similarity(Number(slider.value))));
  slider.addEventListener("change", () => setThreshold(Number(slider.value)));
  byId("search-threshold-reset").addEventListener("click", () => {
    setThreshold(null);
    slider.focus();
  });
  const quality = byId("search-quality");
  quality.addEventListener("input", () => (byId("search-quality-value").textContent = qualityText(Number(quality.value))));
  quality.addEventListener("change", () => setMinQuality(Number(quality.value)));
  byId("search-size").addEventListener("change", ({ target }) => {
    minSize = between(target.value, 0, 100_000) ?? 0;
    told();
    changed();
  });
  onCollection(() => {
    where = null;
    told();
    changed();
  });
  startWhere();
  told();
}

const qualityText = (value) => (value ? similarity(value) : t("search.any"));

function told() {
  byId("search-threshold").value = threshold ?? own ?? 0.5;
  byId("search-threshold-value").textContent =
    threshold !== null ? similarity(threshold) : own === null ? t("search.own") : t("search.own_is", { value: similarity(own) });
  byId("search-threshold-reset").hidden = threshold === null;
  byId("search-quality").value = minQuality;
  byId("search-quality-value").textContent = qualityText(minQuality);
  byId("search-size").value = minSize || "";
  if (minQuality || minSize) byId("search-more").open = true;
  put(byId("search-where-value"), whereText());
}

function whereText() {
  const names = where ?? (current() ? [current()] : []);
  if (!names.length) return t("frame.collection.all");
  return names.length === 1 ? named(names[0]) : t("search.where.several", { n: names.length });
}

function startWhere() {
  const fold = byId("search-where");
  const list = byId("search-where-list");
  const draw = async () => {
    const names = await collections({ anew: true }).catch(() => []);
    const chosen = new Set(where ?? (current() ? [current()] : names));
    const boxes = names.map((name) => h("label", { class: "check" },
      h("input", { type: "checkbox", value: name, checked: chosen.has(name), onchange: () => choose(boxes, all) }), named(name, { class: "cut" })));
    const all = h("input", { type: "checkbox", checked: names.every((name) => chosen.has(name)), onchange: () => {
      for (const each of boxes) each.firstChild.checked = all.checked;
      choose(boxes, all);
    } });
    const sieve = names.length > FEW && h("input", { type: "search", placeholder: t("search.where.find"), "aria-label": t("search.where.find"),
      oninput: ({ target }) => boxes.forEach((each) => (each.hidden = !each.textContent.includes(target.value.trim().toLowerCase()))) });
    put(list, names.length ? [h("label", { class: "check all" }, all, t("frame.collection.all")), sieve, h("div", { class: "where-names" }, boxes)]
      : h("p", { class: "muted" }, t("search.where.none")));
  };
  fold.addEventListener("toggle", () => fold.open && draw());
  fold.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !fold.open) return;
    event.stopPropagation();
    fold.open = false;
    fold.firstElementChild.focus();
  });
  document.addEventListener("click", (event) => !fold.contains(event.target) && (fold.open = false));
}

function choose(boxes, all) {
  const names = boxes.map((each) => each.firstChild).filter((each) => each.checked).map((each) => each.value);
  all.checked = names.length === boxes.length;
  if (!names.length) return; // Nowhere is no place to look: the choice before stays until one is ticked.
  where = names.length === boxes.length && !current() ? null : names;
  told();
  changed();
}
