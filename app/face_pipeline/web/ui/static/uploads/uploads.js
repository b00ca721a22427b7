// The upload drawer: one light row for each photo, from waiting to done.

import { photoUrl } from "../lib/api.js";
import { current, onCollection } from "../lib/collection.js";
import { byId, h, named } from "../lib/dom.js";
import { dropZone } from "../lib/drop.js";
import { t } from "../lib/texts.js";
import { watch } from "../lib/watch.js";
import { bytes, FINISHED, inWords, state as stateName } from "../lib/words.js";
import { UploadQueue } from "./queue.js";
import { thumbnail } from "./thumbnails.js";

// Screen readers hear a summary this often at most.
const SPEAK_EVERY = 3000;

const ENDED = new Set([...FINISHED, "rejected", "stopped"]);
const AGAIN = new Set(["stopped", "failed"]);

const limits = document.body.dataset;
const canRead = limits.canRead === "true";
const items = new Map(); // item -> its row
let drawing = false;
let spoken = 0;
let queue = null;

export function startUploads() {
  if (!byId("upload-zone")) return;
  queue = new UploadQueue(changed);
  byId("open-uploads").addEventListener("click", () => byId("uploads-drawer").showModal());
  const preset = (name) => (byId("upload-collection").value = name);
  preset(current());
  onCollection(preset);
  dropZone(byId("upload-zone"), byId("upload-files"), take);
  byId("uploads-retry").addEventListener("click", () => again([...items.keys()].filter((item) => AGAIN.has(item.state))));
  byId("uploads-clear").addEventListener("click", clear);
  addEventListener("beforeunload", (event) => queue.busy && event.preventDefault());
}

function take(files) {
  const collection = byId("upload-collection");
  if (!collection.reportValidity()) return;
  const form = { collection: collection.value.trim(), person: byId("upload-person").value.trim() };
  const rows = document.createDocumentFragment();
  const good = [];
  for (const file of files) {
    const item = { file, form, state: "waiting", progress: 0 };
    items.set(item, makeRow(item));
    rows.append(items.get(item).row);
    if (file.size > Number(limits.maxBytes)) Object.assign(item, { state: "rejected", reason: { code: "too_large" } });
    else good.push(item);
    changed(item);
  }
  byId("uploads").hidden = false;
  byId("uploads-rows").append(rows);
  queue.add(good);
}

function again(some) {
  queue.add(some);
}

function clear() {
  for (const [item, { row }] of items) {
    if (!ENDED.has(item.state)) continue;
    row.remove();
    items.delete(item);
  }
  byId("uploads").hidden = items.size === 0;
  drawSummary();
}

function makeRow(item) {
  const parts = {
    bar: h("progress", { max: 1, value: 0, "aria-label": t("uploads.of", { name: item.file.name }) }),
    note: h("span", { class: "note" }),
    state: h("span", { class: "state" }),
    action: h("span", { class: "row-action" }),
  };
  parts.row = h("li", { class: "row" }, thumbnail(item.file),
    h("div", { class: "row-text" },
      named(item.file.name, { class: "row-name" }),
      h("span", { class: "row-detail" }, h("span", {}, bytes(item.file.size)), parts.note),
      parts.bar),
    parts.state, parts.action);
  return parts;
}

function changed(item) {
  const parts = items.get(item);
  if (!parts) return;
  parts.bar.value = item.progress;
  if (parts.drawn !== item.state || item.state === "retrying") drawRow(item, parts);
  if (item.photoId && canRead && !item.watched && !FINISHED.has(item.state)) follow(item);
  if (item.duplicate && canRead && FINISHED.has(item.state)) tellOnce(item);
  if (!drawing) {
    drawing = true;
    requestAnimationFrame(drawSummary);
  }
}

function follow(item) {
  item.watched = true;
  watch({ id: item.photoId, state: item.state }, (photo) => {
    Object.assign(item, { state: photo.state, reason: photo.reason, faces: photo.face_count });
    item.watched = !FINISHED.has(photo.state);
    changed(item);
    if (!item.watched) document.dispatchEvent(new CustomEvent("photo-finished", { detail: photo }));
  });
}

// A photo that was finished before may have got a name by this upload.
function tellOnce(item) {
  if (item.told) return;
  item.told = true;
  document.dispatchEvent(new CustomEvent("photo-finished"));
}

function drawRow(item, { row, bar, note, state, action }) {
  items.get(item).drawn = item.state;
  row.dataset.state = item.state;
  bar.hidden = !["uploading", "retrying", "waiting"].includes(item.state);
  state.textContent = stateName(item.state);
  note.textContent = noteOf(item);
  action.replaceChildren();
  if (item.state === "done" && canRead) {
    action.append(h("a", { class: "button", href: photoUrl(item.photoId), "aria-label": t("uploads.open_one", { name: item.file.name }) }, t("uploads.open")));
  } else if (AGAIN.has(item.state)) {
    action.append(h("button", { type: "button", "aria-label": t("uploads.retry_one", { name: item.file.name }), onclick: () => again([item]) }, t("uploads.retry")));
  }
}

function noteOf(item) {
  const notes = [];
  if (item.state === "retrying") {
    const n = Math.ceil(item.wait);
    return item.reason.status ? t("uploads.busy", { n }) : t("uploads.no_connection", { n });
  }
  if (item.state === "stopped" && item.reason.code === "network") return t("uploads.not_reached");
  if (item.duplicate) notes.push(t("uploads.known"));
  if (item.state === "done" && item.faces !== undefined) notes.push(t("words.faces", { n: item.faces }));
  // The worker may say of a photo what the answer said already.
  for (const reason of [item.remark, item.reason]) {
    if (reason && !notes.includes(inWords(reason))) notes.push(inWords(reason));
  }
  return notes.join(" · ");
}

function drawSummary() {
  drawing = false;
  const all = [...items.keys()];
  const tally = {};
  for (const { state } of all) tally[state] = (tally[state] ?? 0) + 1;
  const left = (tally.waiting ?? 0) + (tally.uploading ?? 0) + (tally.retrying ?? 0);
  const ended = all.filter((item) => ENDED.has(item.state) || !canRead).length;
  const parts = [t("uploads.sent", { sent: all.length - left, n: all.length })];
  for (const state of ["received", "queued", "processing", "done", "failed", "rejected", "stopped"]) {
    if (tally[state]) parts.push(`${tally[state]} ${stateName(state).toLowerCase()}`);
  }
  byId("uploads-summary").textContent = parts.join(" · ");
  const sent = all.reduce((sum, item) => sum + (ENDED.has(item.state) ? 1 : item.progress / 2), 0);
  const bar = byId("uploads-progress");
  bar.value = all.length ? sent / all.length : 0;
  bar.hidden = ended === all.length;
  byId("uploads-clear").hidden = ended === 0;
  byId("uploads-retry").hidden = !all.some((item) => AGAIN.has(item.state));
  speak(parts.join(", "), ended === all.length);
}

function speak(text, last) {
  if (!last && Date.now() - spoken < SPEAK_EVERY) return;
  spoken = Date.now();
  const live = byId("uploads-live");
  if (live.textContent !== text) live.textContent = text;
}
