// One light row for each file, the summary over them, and the chips that show the files of one state alone.

import { photoUrl } from "../lib/api.js";
import { byId, h, icon, iconButton, named, put } from "../lib/dom.js";
import { picture } from "../lib/pictures.js";
import { t } from "../lib/texts.js";
import { bytes, inWords } from "../lib/words.js";
import { AGAIN, ORDER, UNSENT } from "./states.js";
import { drop, thumbnail } from "./thumbnails.js";

// Chips are for lists that one does not see at a glance.
const FEW = 6;
// Screen readers hear a summary this often at most.
const SPEAK_EVERY = 3000;
const KINDS = { done: "good", failed: "bad", rejected: "bad", stopped: "bad", lost: "bad", held: "warning", nobody: "plain", known: "plain", underway: "busy", sending: "busy" };

export class Rows {
  #rows = new Map(); // id -> parts
  #queue;
  #canRead;
  #act;
  #filter = "";
  #drawing = false;
  #spoken = 0;

  /** `act`: {retry(items), cancel(items), clear(items), choose()}. */
  constructor(queue, { canRead, act }) {
    this.#queue = queue;
    this.#canRead = canRead;
    this.#act = act;
    queue.addEventListener("change", ({ detail }) => this.#changed(detail));
    queue.addEventListener("removed", ({ detail }) => this.#removed(detail));
  }

  #changed(items) {
    const made = document.createDocumentFragment();
    for (const item of items) {
      if (!this.#queue.items.has(item.id)) continue;
      if (!this.#rows.has(item.id)) made.append(this.#make(item));
      this.#draw(item);
    }
    byId("uploads-rows").append(made);
    this.#later();
  }

  #removed(ids) {
    for (const id of ids) {
      const parts = this.#rows.get(id);
      if (!parts) continue;
      // Somebody who works with the keyboard stays in the list.
      if (parts.row.contains(document.activeElement)) byId("uploads-rows").focus();
      drop(parts.canvas);
      parts.row.remove();
      this.#rows.delete(id);
    }
    this.#later();
  }

  #later() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => this.#summary());
  }

  #make(item) {
    const ending = item.name.match(/\.(\w{2,4})$/)?.[1] ?? "";
    const parts = {
      thumb: h("span", { class: "upload-thumb", "aria-hidden": "true", "data-ending": ending }),
      bar: h("progress", { max: 1, value: 0, "aria-label": t("uploads.of", { name: item.name }) }),
      note: h("span", { class: "upload-note" }),
      state: h("span", { class: "chip" }),
      action: h("span", { class: "upload-action" }),
    };
    parts.none = () => {
      parts.thumb.dataset.none = "";
      this.#fromServer(item, parts);
    };
    parts.canvas = thumbnail(() => this.#queue.fileOf(item), parts.none);
    parts.thumb.append(parts.canvas);
    parts.row = h("li", { class: "upload-row" }, parts.thumb,
      h("div", { class: "upload-text" },
        named(item.name, { class: "upload-name" }),
        h("span", { class: "upload-detail" }, h("span", {}, bytes(item.size)), parts.note), parts.bar),
      parts.state, parts.action);
    this.#rows.set(item.id, parts);
    return parts.row;
  }

  // What the browser cannot show, or has no more, the server has a picture of.
  #fromServer(item, { thumb }) {
    if (!this.#canRead || !item.photoId || !["done", "nobody", "known"].includes(item.state) || thumb.querySelector("img")) return;
    thumb.append(picture(`/api/v1/photos/${item.photoId}/thumbnail`, { loading: "lazy" }, () => ""));
  }

  #draw(item) {
    const parts = this.#rows.get(item.id);
    parts.bar.value = item.progress ?? 0;
    const now = [item.state, item.reason?.code, item.faces, item.remark?.code, item.duplicate].join();
    if (parts.drawn === now) return;
    parts.drawn = now;
    parts.row.dataset.state = item.state;
    parts.row.hidden = Boolean(this.#filter) && this.#filter !== item.state;
    parts.bar.hidden = item.state !== "sending";
    parts.state.textContent = this.#stateOf(item);
    parts.state.dataset.kind = KINDS[item.state] ?? "";
    parts.note.textContent = this.#noteOf(item);
    if (!parts.action.contains(document.activeElement)) put(parts.action, this.#actionOf(item));
    else {
      put(parts.action, this.#actionOf(item));
      (parts.action.firstChild ?? byId("uploads-rows")).focus();
    }
    if ("none" in parts.thumb.dataset) this.#fromServer(item, parts);
  }

  #stateOf({ state, faces }) {
    return state === "done" && faces ? t("words.faces", { n: faces }) : t(`uploads.states.${state}`);
  }

  #noteOf(item) {
    const notes = [];
    if (item.state === "lost") notes.push(t("uploads.file_lost"));
    else if (item.reason) notes.push(reasonOf(item.reason));
    if (item.remark && item.remark.code !== item.reason?.code) notes.push(reasonOf(item.remark));
    if (item.state === "nobody" && !notes.length) notes.push(t("uploads.nobody_help"));
    if (item.duplicate && item.state !== "known") notes.push(t("uploads.known_too"));
    return notes.join(" ");
  }

  #actionOf(item) {
    const { name, state } = item;
    if (AGAIN.has(state)) return iconButton("retry", t("uploads.retry_one", { name }), () => this.#act.retry([item]));
    if (state === "lost") return iconButton("upload", t("uploads.choose_one", { name }), () => this.#act.choose());
    if (UNSENT.has(state)) return iconButton("close", t("uploads.cancel_one", { name }), () => this.#act.cancel([item]));
    if (item.photoId && this.#canRead && state !== "underway") {
      return h("a", { class: "button quiet icon-only", href: photoUrl(item.photoId), "aria-label": t("uploads.open_one", { name }), title: t("uploads.open_one", { name }) }, icon("right"));
    }
    return state === "rejected" ? iconButton("close", t("uploads.clear_one", { name }), () => this.#act.clear([item])) : null;
  }

  #summary() {
    this.#drawing = false;
    const all = [...this.#queue.items.values()];
    const tally = {};
    for (const { state } of all) tally[state] = (tally[state] ?? 0) + 1;
    const told = ORDER.filter((state) => tally[state]);
    const parts = told.map((state) => t(`uploads.counts.${state}`, { n: tally[state] }));
    const text = all.length ? t("uploads.summary", { n: all.length, parts: parts.join(", ") }) : "";
    byId("uploads").hidden = all.length === 0;
    byId("uploads-drawer").dataset.list = String(all.length > 0);
    byId("uploads-summary").textContent = text;
    const open = all.filter((item) => UNSENT.has(item.state) || item.state === "underway").length;
    const bar = byId("uploads-progress");
    bar.value = all.length ? all.reduce((sum, item) => sum + shareOf(item), 0) / all.length : 0;
    bar.hidden = open === 0;
    this.#chips(tally, told, all.length);
    byId("uploads-cancel").hidden = !all.some((item) => UNSENT.has(item.state));
    byId("uploads-retry").hidden = !all.some((item) => AGAIN.has(item.state));
    byId("uploads-clear").hidden = open === all.length;
    this.#links(all);
    badge(open, all);
    this.#speak(text, open === 0);
  }

  #chips(tally, told, total) {
    if (this.#filter && !tally[this.#filter]) this.show("");
    const place = byId("uploads-filters");
    place.hidden = total <= FEW || told.length < 2;
    const key = place.hidden ? "" : told.map((state) => `${state} ${tally[state]}`).join() + this.#filter;
    if (place.dataset.drawn === key) return;
    place.dataset.drawn = key;
    const focused = place.contains(document.activeElement) ? document.activeElement.dataset.state : null;
    put(place, place.hidden ? null : ["", ...told].map((state) => h("button", {
      type: "button", class: "upload-filter", "data-state": state, "aria-pressed": String(state === this.#filter), onclick: () => this.show(state),
    }, state ? t(`uploads.counts.${state}`, { n: tally[state] }) : t("uploads.all", { n: total }))));
    if (focused !== null) (place.querySelector(`[data-state="${focused}"]`) ?? place.firstChild)?.focus();
  }

  /** Shows the files of one state alone; "" is all. */
  show(state) {
    this.#filter = state;
    for (const [id, { row }] of this.#rows) row.hidden = Boolean(state) && this.#queue.items.get(id)?.state !== state;
    this.#later();
  }

  // To the photos of what was dropped last.
  #links(all) {
    const place = byId("uploads-photos");
    const last = this.#canRead ? all.findLast((item) => item.batch && item.photoId) : null;
    place.hidden = !last;
    if (last) place.href = `/photos?${new URLSearchParams({ collection: last.collection, batch: last.batch })}`;
  }

  #speak(text, last) {
    if (!last && Date.now() - this.#spoken < SPEAK_EVERY) return;
    this.#spoken = Date.now();
    const live = byId("uploads-live");
    if (live.textContent !== text) live.textContent = text;
  }
}

const shareOf = ({ state, progress }) => (state === "underway" ? 0.8 : UNSENT.has(state) ? 0.7 * (progress ?? 0) : 1);

// How many are not through yet, on the button that every page has.
function badge(open, all) {
  const button = byId("open-uploads");
  const trouble = all.some((item) => ["held", "lost", "stopped", "failed", "rejected"].includes(item.state));
  let mark = button.querySelector(".upload-badge");
  if (!mark) button.append((mark = h("span", { class: "upload-badge" })));
  mark.hidden = !open;
  mark.textContent = open > 999 ? "999+" : String(open);
  mark.dataset.kind = trouble ? "bad" : "";
}

function reasonOf(reason) {
  if (reason.code === "person_not_assigned") return t("uploads.person_not_assigned");
  if (reason.code === "photo_gone") return t("uploads.photo_gone");
  return inWords(reason);
}
