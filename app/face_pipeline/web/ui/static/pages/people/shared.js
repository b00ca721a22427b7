// What the pages of people and of unknown faces have in common.

import { cropUrl, get } from "../../lib/api.js";
import { h, icon } from "../../lib/dom.js";
import { tell } from "../../lib/messages.js";
import { locale } from "../../lib/locale.js";
import { picture } from "../../lib/pictures.js";
import { has, t } from "../../lib/texts.js";
import { inWords } from "../../lib/words.js";

const scopes = new Set(document.body.dataset.scopes.split(" "));

// All as wide as each other, for they stand in a grid.
const cosines = new Intl.NumberFormat(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** Whether the key may do what needs this scope. */
export const may = (scope) => scopes.has(scope) || scopes.has("admin");

/** An error of these pages in a sentence: of what others did meanwhile there is more to say than the API says. */
export const say = (error) => (has(`people.errors.${error.code}`) ? t(`people.errors.${error.code}`) : inWords(error));

/** The same, for a dialog that shows what an action raised. */
export const told = (error) => (has(`people.errors.${error.code}`) ? { code: "told", message: say(error) } : error);

export const sayIt = (error) => tell(say(error), { kind: "bad" });

/** {person, etag} as they are now. */
export async function read(id) {
  const response = await get(`/persons/${id}`, { as: "response" });
  return { person: await response.json(), etag: response.headers.get("ETag") };
}

export const counts = (person) => `${t("words.faces", { n: person.face_count })} · ${t("people.photos", { n: person.photo_count })}`;

/** A square picture of a face, an outline without one. */
export function portrait(faceId, size = 320) {
  const frame = h("span", { class: "portrait" });
  const outline = () => icon("people");
  frame.append(faceId ? picture(cropUrl(faceId, size), { loading: "lazy", decoding: "async", draggable: "false" }, outline) : outline());
  return frame;
}

/** The word and the number of a cosine; `thresholds` as searches tell them, null while they are not known. */
export function certainty(value, thresholds) {
  if (value === undefined) return h("span", { class: "chip" }, t("people.certainty.only"));
  const figure = h("span", { class: "number-text" }, cosines.format(value));
  if (!thresholds) return h("span", { class: "chip" }, figure);
  const word = value >= thresholds.sure ? "sure" : value >= thresholds.likely ? "likely" : "unsure";
  const kind = { sure: "good", likely: null, unsure: "warning" }[word];
  return h("span", { class: "chip", "data-kind": kind, "data-word": word }, t(`people.certainty.${word}`), figure);
}

/** A button with a list of actions {text, icon, run} or links {text, icon, href}. */
export function menu(label, items) {
  const close = () => (list.open = false);
  const list = h("details", { class: "menu" },
    h("summary", { class: "button quiet icon-only", "aria-label": label, title: label }, icon("more")),
    h("ul", {}, items.map((item) => h("li", {}, item.href
      ? h("a", { class: "button", href: item.href }, icon(item.icon), item.text)
      : h("button", { type: "button", onclick: () => { close(); item.run(); } }, icon(item.icon), item.text)))));
  list.addEventListener("focusout", ({ relatedTarget }) => !list.contains(relatedTarget) && close());
  list.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !list.open) return;
    event.stopPropagation();
    close();
    list.firstChild.focus();
  });
  return list;
}

/** Bar at the lower edge for what is chosen: shown while there is something. `actions`: buttons. Returns draw(number). */
export function selectionBar(place, { text, actions, clear }) {
  const words = h("span", { class: "selection-count", role: "status" });
  const bar = h("div", { class: "selection", role: "group", "aria-label": t("people.chosen"), hidden: true },
    words, actions, h("button", { type: "button", class: "quiet", onclick: clear }, t("people.clear")));
  place.append(bar);
  return (n) => {
    bar.hidden = n === 0;
    words.textContent = n ? text(n) : "";
  };
}

/** Gives `content` (something for JSON) to the browser as a file. */
export function download(name, content) {
  const address = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2)], { type: "application/json" }));
  const link = h("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

const ASSIGN_MOST = 200;

/** Gives any number of faces to a person, `who` {person_id} or {person: name}, or to nobody, {person_id: null}. */
export async function assign(post, faceIds, who) {
  let given = 0;
  let person = null;
  for (let at = 0; at < faceIds.length; at += ASSIGN_MOST) {
    const answer = await post("/faces/assign", { face_ids: faceIds.slice(at, at + ASSIGN_MOST), ...who });
    given += answer.face_count;
    person ??= answer.person;
    // A name makes the person once.
    if (person) who = { person_id: person.id };
  }
  return { given, person };
}
