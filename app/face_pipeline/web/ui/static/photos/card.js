// One photo of the grid, and the heading of a day.

import { photoUrl } from "../lib/api.js";
import { h, icon, named, put } from "../lib/dom.js";
import { locale } from "../lib/locale.js";
import { picture } from "../lib/pictures.js";
import { t } from "../lib/texts.js";
import { moment } from "../lib/time.js";
import { inWords, state } from "../lib/words.js";

const clock = new Intl.DateTimeFormat(locale, { timeStyle: "short" });

/** `chosen(id)`: whether it is; `active(id)`: whether Tab comes here; `search()`: the filter as its address has it; `pickable`: whether photos can be chosen. */
export function drawCard(photo, { chosen, active, search, pickable }) {
  const frame = h("span", { class: "photo-frame" });
  const name = named("", { class: "card-name" });
  const facts = h("span", { class: "card-facts" });
  const link = h("a", { class: "photo-card" }, frame, name, facts);
  const pick = pickable ? h("button", { type: "button", class: "pick", role: "checkbox", tabindex: "-1" }, h("span", {}, icon("check"))) : null;
  const element = h("li", { class: "photo" }, link, pick);
  let pictured = null;

  function refresh(now) {
    element.dataset.id = now.id;
    element.dataset.state = now.state;
    link.tabIndex = active(now.id) ? 0 : -1;
    link.href = photoUrl(now.id) + search();
    name.textContent = name.title = now.filename;
    if (pictured !== (now.thumbnail ?? now.state)) put(frame, pictureOf(now));
    pictured = now.thumbnail ?? now.state;
    put(facts, factsOf(now));
    const is = chosen(now.id);
    element.toggleAttribute("data-chosen", is);
    pick?.setAttribute("aria-checked", String(is));
    pick?.setAttribute("aria-label", t("photos.choose", { name: now.filename }));
  }
  refresh(photo);
  return { element, refresh };
}

function pictureOf(photo) {
  if (!photo.thumbnail) return [h("span", { class: "no-picture" }, icon(photo.state === "failed" ? "warning" : "clock")), h("span", { class: "badge" }, state(photo.state))];
  return picture(photo.thumbnail, { width: 320, height: 320, decoding: "async", draggable: "false" }, () => h("span", { class: "no-picture" }, icon("photos")));
}

function factsOf(photo) {
  const at = h("time", { datetime: photo.received_at, title: moment(photo.received_at) }, clock.format(new Date(photo.received_at)));
  if (photo.state === "failed" && photo.reason) return h("span", { class: "why", title: inWords(photo.reason) }, inWords(photo.reason));
  // A photo of several faces was given a name, but none of its faces has it.
  const person = photo.reason ? null : photo.person;
  const faces = photo.state === "done" && !(person && photo.face_count === 1) ? `${t("words.faces", { n: photo.face_count })} · ` : "";
  return [...(person ? [named(person.name), " · "] : []), faces, at];
}

/** `items()`: photos of the day that are loaded; `choose(items)`: choose them all, or none; null: nothing can be chosen. */
export function drawDay(day, items, choose) {
  let its = items;
  const button = choose ? h("button", { type: "button", class: "quiet small", "aria-label": t("photos.choose_day_one", { day }), onclick: () => choose(its()) }, t("photos.choose_day")) : null;
  const element = h("li", { class: "day" }, h("h2", {}, day), button);
  return { element, refresh: (now) => (its = now) };
}
