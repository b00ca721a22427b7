// Photos that are on the server, newest first.

import { get, pictureUrl } from "./api.js";
import { byId, count, h, time } from "./dom.js";
import { watch } from "./watch.js";
import { FINISHED, inWords, STATES } from "./words.js";

const PAGE = 24;
const CARD = 480;
const SETTLE = 1500;

let cursor = null;
let generation = 0;
let stops = [];
let timer = null;

export function startLibrary() {
  if (!byId("library-grid")) return;
  byId("library-state").addEventListener("change", reload);
  byId("library-collection").addEventListener("change", reload);
  byId("library-refresh").addEventListener("click", reload);
  byId("library-more").addEventListener("click", () => load(byId("library-grid").children.length));
  document.addEventListener("photo-finished", () => {
    clearTimeout(timer);
    // Not while somebody is reading further down.
    timer = setTimeout(() => byId("library-grid").children.length <= PAGE && reload(), SETTLE);
  });
  reload();
}

function reload() {
  cursor = null;
  for (const stop of stops.splice(0)) stop();
  return load(0);
}

async function load(position) {
  const mine = ++generation;
  const more = byId("library-more");
  const query = new URLSearchParams({ limit: PAGE });
  const filters = { state: byId("library-state").value, collection: byId("library-collection").value.trim(), cursor: position ? cursor : null };
  for (const [name, value] of Object.entries(filters)) if (value) query.set(name, value);
  more.disabled = true;
  if (byId("library-grid").children.length === 0) skeleton();
  try {
    const answer = await get(`/photos?${query}`);
    if (mine === generation) show(answer, position);
  } catch (error) {
    if (mine === generation) fail(error);
  }
  more.disabled = false;
}

function show({ photos, next_cursor: next }, position) {
  const grid = byId("library-grid");
  const cards = photos.map(card);
  if (position) grid.append(...cards);
  else grid.replaceChildren(...cards);
  cursor = next;
  byId("library-more").hidden = next === null;
  byId("library-status").replaceChildren(...(grid.children.length ? [] : [empty()]));
  if (position) cards[0]?.querySelector("a").focus();
  learnCollections(photos);
}

function empty() {
  const filtered = byId("library-state").value || byId("library-collection").value;
  return h("div", { class: "empty" },
    h("p", { class: "empty-title" }, filtered ? "No photo fits this filter" : "No photos yet"),
    h("p", { class: "muted" }, filtered ? "Choose another state or collection." : "Photos you upload here, or send to the API, appear in this place."));
}

function fail(error) {
  for (const each of [...byId("library-grid").querySelectorAll(".skeleton")]) each.remove();
  byId("library-status").replaceChildren(
    h("div", { class: "empty error" }, h("p", {}, error.code === "network" ? "The server cannot be reached." : inWords(error)),
      h("button", { type: "button", onclick: reload }, "Try again")));
}

function skeleton() {
  byId("library-status").replaceChildren(h("span", { class: "visually-hidden" }, "Loading photos"));
  byId("library-grid").replaceChildren(...Array.from({ length: 6 }, () => h("li", { class: "skeleton", "aria-hidden": "true" })));
}

function card(photo) {
  const parts = { badge: h("span", { class: "badge" }), facts: h("span", { class: "card-facts" }) };
  const broken = (event) => event.target.classList.add("none");
  const link = h("a", { class: "photo-card", href: `#photo/${photo.id}` },
    h("span", { class: "frame" },
      h("img", { src: pictureUrl(photo, CARD), alt: "", loading: "lazy", decoding: "async", onerror: broken }), parts.badge),
    h("bdi", { class: "card-name", title: photo.filename }, photo.filename), parts.facts);
  draw(photo, link, parts);
  if (!FINISHED.has(photo.state)) stops.push(watch(photo, (news) => draw({ ...photo, ...news }, link, parts)));
  return h("li", {}, link);
}

function draw(photo, link, { badge, facts }) {
  link.dataset.state = photo.state;
  link.title = photo.reason ? inWords(photo.reason) : "";
  badge.textContent = photo.state === "done" ? "" : STATES[photo.state];
  // A photo of several faces was given a name, but none of its faces has it.
  const person = photo.reason ? null : photo.person;
  const faces = photo.state === "done" ? `${count(photo.face_count, "face")} · ` : "";
  facts.replaceChildren(...(person ? [h("bdi", {}, person.name), " · "] : []), faces, time(photo.received_at));
}

function learnCollections(photos) {
  const list = byId("collections");
  const known = new Set([...list.options].map((option) => option.value));
  for (const name of new Set(photos.map((photo) => photo.collection))) {
    if (!known.has(name)) list.append(h("option", { value: name }));
  }
}
