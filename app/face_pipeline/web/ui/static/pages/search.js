// Who is on this photo? The photo with a box for each face, and beside it what was found for each.

import { cropUrl, isAbort, photoUrl, post } from "../lib/api.js";
import { boxedPhoto } from "../lib/boxes.js";
import { current, onCollection } from "../lib/collection.js";
import { byId, h } from "../lib/dom.js";
import { dropZone } from "../lib/drop.js";
import { t } from "../lib/texts.js";
import { duration } from "../lib/time.js";
import { inWords, percent } from "../lib/words.js";

let photo = null;
let address = null;
let threshold = null; // null: the model's own
let request = null;

function start() {
  const slider = byId("search-threshold");
  dropZone(byId("search-zone"), byId("search-file"), ([file]) => take(file));
  onCollection(run);
  slider.addEventListener("input", () => showThreshold(Number(slider.value), true));
  slider.addEventListener("change", () => {
    threshold = Number(slider.value);
    run();
  });
  byId("search-threshold-reset").addEventListener("click", () => {
    threshold = null;
    showThreshold(Number(slider.value), false);
    slider.focus();
    run();
  });
}

function showThreshold(value, chosen) {
  byId("search-threshold").value = value;
  byId("search-threshold-value").textContent = chosen ? percent(value) : t("search.own");
  byId("search-threshold-reset").hidden = !chosen;
}

async function take(file) {
  photo = file;
  const found = await addressOf(file);
  if (photo !== file) return URL.revokeObjectURL(found);
  if (address) URL.revokeObjectURL(address);
  address = found;
  return run();
}

// Browsers show JPEGs as the service sees them. Of the rest the service makes a picture, if it can.
async function addressOf(file) {
  const start = new Uint8Array(await file.slice(0, 3).arrayBuffer());
  const isJpeg = start[0] === 0xff && start[1] === 0xd8 && start[2] === 0xff;
  return URL.createObjectURL(isJpeg ? file : await rendition(file).catch(() => file));
}

function search(signal) {
  const form = new FormData();
  form.append("photo", photo, photo.name || "photo");
  form.append("group_by", "person");
  if (current()) form.append("collection", current());
  if (threshold !== null) form.append("threshold", threshold);
  return post("/search", form, { signal });
}

/** The picture that a search of this file looks for faces in, as a JPEG. */
function rendition(file) {
  const form = new FormData();
  form.append("photo", file, file.name || "photo");
  return post("/renditions", form, { as: "blob" });
}

async function run() {
  if (!photo) return;
  request?.abort();
  const mine = (request = new AbortController());
  const result = byId("search-result");
  result.setAttribute("aria-busy", "true");
  say(t("search.searching"));
  if (!result.querySelector(".result")) layout([], h("p", { class: "status loading" }, t("search.looking")));
  try {
    show(await search(mine.signal));
  } catch (error) {
    if (isAbort(error)) return;
    fail(error);
  }
  result.removeAttribute("aria-busy");
}

function say(text) {
  byId("search-live").textContent = text;
}

function layout(faces, ...beside) {
  const picture = boxedPhoto(address, t("search.searched_photo", { name: photo.name }), faces, {
    another: async () => (address = URL.createObjectURL(await rendition(photo))),
    onPick: (index) => byId(`found-${index}`).focus(),
    onBroken: () => picture.figure.replaceChildren(h("p", { class: "status" }, t("viewer.cannot_show"))),
  });
  byId("search-result").replaceChildren(
    h("div", { class: "result" }, h("div", { class: "stage" }, picture.figure), h("div", { class: "side" }, ...beside)));
  return picture.mark;
}

function show(answer) {
  if (threshold === null) {
    showThreshold(answer.threshold, false);
    byId("search-threshold-value").textContent = t("search.own_is", { share: percent(answer.threshold) });
  }
  const found = answer.faces.filter((face) => face.matches.length).length;
  const values = { faces: t("words.faces", { n: answer.faces.length }), time: duration(answer.duration_seconds) };
  const summary = answer.cache === "hit" ? t("search.from_cache", values) : t("search.searched", values);
  const list = h("ol", { class: "found" });
  const head = answer.faces.length
    ? h("p", { class: "muted", id: "search-summary", "data-cache": answer.cache }, summary)
    : h("div", { class: "empty" }, h("p", { class: "empty-title" }, t("search.no_face")),
        h("p", { class: "muted" }, t("search.no_face_help")));
  const mark = layout(answer.faces, head, list);
  answer.faces.forEach((face, index) => list.append(faceResult(face, index, mark)));
  say(`${summary}. ${found ? t("search.recognised", { n: found }) : t("search.nobody")}`);
}

function faceResult(face, index, mark) {
  const body = face.matches.length
    ? h("ul", { class: "matches" }, ...face.matches.map(matchItem))
    : h("p", { class: "nobody" }, h("b", {}, t("search.nobody")), " ", h("span", { class: "muted" }, t("search.nobody_help")));
  return h("li", {
    class: "found-face", id: `found-${index}`, tabindex: "-1",
    onmouseenter: () => mark(index), onmouseleave: () => mark(null),
    onfocusin: () => mark(index), onfocusout: () => mark(null),
  },
  h("h2", {}, h("span", { class: "number-tag" }, String(index + 1)), h("span", { class: "visually-hidden" }, t("search.face", { number: index + 1 })),
    h("span", { class: "muted small" }, `${t("words.detection")} ${percent(face.detection_score)} · ${t("words.quality")} ${percent(face.quality)}`)),
  body);
}

function matchItem(match) {
  const name = match.person_name ?? t("words.unnamed");
  const similarity = percent(match.similarity);
  const others = match.face_count > 1 ? t("search.best_of", { n: match.face_count }) : "";
  const told = [
    h("span", { class: "match-text" },
      h("bdi", { dir: "auto", class: match.person_name ? "person" : "person unnamed" }, name),
      others && h("span", { class: "muted small" }, others),
      h("meter", { min: 0, max: 1, value: Math.max(0, match.similarity), "aria-hidden": "true" })),
    h("span", { class: "similarity" }, h("span", { class: "visually-hidden" }, `${t("search.similarity")} `), similarity),
  ];
  // A face that came as an embedding has no photo to open.
  if (!match.photo_id) return h("li", {}, h("div", { class: "match" }, h("span", { class: "crop" }), ...told));
  return h("li", {},
    h("a", { class: "match", href: photoUrl(match.photo_id) },
      h("img", { class: "crop", src: cropUrl(match.face_id), alt: "", loading: "lazy", width: 56, height: 56 }),
      ...told));
}

function fail(error) {
  layout([], h("div", { class: "status error", role: "alert" }, h("p", {}, inWords(error)),
    error.temporary || error.status === 404 ? h("button", { type: "button", onclick: run }, t("search.again")) : null));
  say("");
}

start();
