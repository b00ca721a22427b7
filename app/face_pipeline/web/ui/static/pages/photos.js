// Photos that are on the server, newest first.

import { photoUrl, pictureUrl } from "../lib/api.js";
import { current, onCollection } from "../lib/collection.js";
import { byId, h, named } from "../lib/dom.js";
import { pagedList } from "../lib/paging.js";
import { empty } from "../lib/states.js";
import { t } from "../lib/texts.js";
import { time } from "../lib/time.js";
import { watch } from "../lib/watch.js";
import { FINISHED, inWords, state } from "../lib/words.js";

const PAGE = 24;
const CARD = 480;
const SETTLE = 1500;

let stops = [];
let timer = null;

const list = pagedList({
  place: byId("library-grid"),
  path: "/photos",
  query: () => ({ state: byId("library-state").value, collection: current() }),
  items: (answer) => answer.photos,
  draw: card,
  limit: PAGE,
  kind: "card",
  empty: () => {
    const filtered = byId("library-state").value || current();
    return empty({ icon: "photos", title: t(filtered ? "photos.none_fits" : "photos.none"), text: t(filtered ? "photos.none_fits_help" : "photos.none_help") });
  },
});

function reload() {
  for (const stop of stops.splice(0)) stop();
  return list.reload();
}

function card(photo) {
  const parts = { badge: h("span", { class: "badge" }), facts: h("span", { class: "card-facts" }) };
  const broken = (event) => event.target.classList.add("none");
  const link = h("a", { class: "photo-card", href: photoUrl(photo.id) },
    h("span", { class: "photo-frame" },
      h("img", { src: pictureUrl(photo, CARD), alt: "", loading: "lazy", decoding: "async", onerror: broken }), parts.badge),
    named(photo.filename, { class: "card-name" }), parts.facts);
  draw(photo, link, parts);
  if (!FINISHED.has(photo.state)) stops.push(watch(photo, (news) => draw({ ...photo, ...news }, link, parts)));
  return h("li", {}, link);
}

function draw(photo, link, { badge, facts }) {
  link.dataset.state = photo.state;
  link.title = photo.reason ? inWords(photo.reason) : "";
  badge.textContent = photo.state === "done" ? "" : state(photo.state);
  // A photo of several faces was given a name, but none of its faces has it.
  const person = photo.reason ? null : photo.person;
  const faces = photo.state === "done" ? `${t("words.faces", { n: photo.face_count })} · ` : "";
  facts.replaceChildren(...(person ? [named(person.name), " · "] : []), faces, time(photo.received_at));
}

byId("library-state").addEventListener("change", reload);
byId("library-refresh").addEventListener("click", reload);
onCollection(reload);
document.addEventListener("photo-finished", () => {
  clearTimeout(timer);
  // Not while somebody is reading further down.
  timer = setTimeout(() => list.count() <= PAGE && reload(), SETTLE);
});
reload();
