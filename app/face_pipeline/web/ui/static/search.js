// Who is on this photo? The photo with a box for each face, and beside it what was found for each.

import { cropUrl, rendition, search } from "./api.js";
import { byId, count, h, percent, seconds } from "./dom.js";
import { dropZone } from "./drop.js";
import { boxedPhoto } from "./faces.js";
import { inWords } from "./words.js";

let photo = null;
let address = null;
let threshold = null; // null: the model's own
let request = null;

export function startSearch() {
  if (!byId("search-zone")) return;
  const slider = byId("search-threshold");
  dropZone(byId("search-zone"), byId("search-file"), ([file]) => take(file));
  byId("search-collection").addEventListener("change", run);
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
  byId("search-threshold-value").textContent = chosen ? percent(value) : "model’s own";
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

async function run() {
  if (!photo) return;
  request?.abort();
  const mine = (request = new AbortController());
  const result = byId("search-result");
  result.setAttribute("aria-busy", "true");
  say("Searching");
  if (!result.querySelector(".result")) layout([], h("p", { class: "status loading" }, "Looking for faces…"));
  try {
    const collection = byId("search-collection").value.trim();
    show(await search(photo, { collection, threshold }, mine.signal));
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error);
  }
  result.removeAttribute("aria-busy");
}

function say(text) {
  byId("search-live").textContent = text;
}

function layout(faces, ...beside) {
  const picture = boxedPhoto(address, `The photo you search with, ${photo.name}`, faces, {
    another: async () => (address = URL.createObjectURL(await rendition(photo))),
    onPick: (index) => byId(`found-${index}`).focus(),
    onBroken: () => picture.figure.replaceChildren(h("p", { class: "status" }, "The browser cannot show this photo.")),
  });
  byId("search-result").replaceChildren(
    h("div", { class: "result" }, h("div", { class: "stage" }, picture.figure), h("div", { class: "side" }, ...beside)));
  return picture.mark;
}

function show(answer) {
  if (threshold === null) {
    showThreshold(answer.threshold, false);
    byId("search-threshold-value").textContent = `model’s own, ${percent(answer.threshold)}`;
  }
  const found = answer.faces.filter((face) => face.matches.length).length;
  const origin = answer.cache === "hit" ? "answered from the cache" : "searched";
  const summary = `${count(answer.faces.length, "face")} · ${origin} in ${seconds(answer.duration_seconds)}`;
  const list = h("ol", { class: "found" });
  const head = answer.faces.length
    ? h("p", { class: "muted", id: "search-summary", "data-cache": answer.cache }, summary)
    : h("div", { class: "empty" }, h("p", { class: "empty-title" }, "No face found on this photo"),
        h("p", { class: "muted" }, "Small, turned away or half-hidden faces can be missed. Try a sharper photo or a closer crop."));
  const mark = layout(answer.faces, head, list);
  answer.faces.forEach((face, index) => list.append(faceResult(face, index, mark)));
  say(`${summary}. ${found ? `${count(found, "face")} recognised` : "Nobody found"}.`);
}

function faceResult(face, index, mark) {
  const body = face.matches.length
    ? h("ul", { class: "matches" }, ...face.matches.map(matchItem))
    : h("p", { class: "nobody" }, h("b", {}, "Nobody found. "), h("span", { class: "muted" }, "No face of the collection is similar enough."));
  return h("li", {
    class: "found-face", id: `found-${index}`, tabindex: "-1",
    onmouseenter: () => mark(index), onmouseleave: () => mark(null),
    onfocusin: () => mark(index), onfocusout: () => mark(null),
  },
  h("h3", {}, h("span", { class: "number" }, String(index + 1)), h("span", { class: "visually-hidden" }, `Face ${index + 1}`),
    h("span", { class: "muted small" }, `detection ${percent(face.detection_score)} · quality ${percent(face.quality)}`)),
  body);
}

function matchItem(match) {
  const name = match.person_name ?? "unnamed";
  const similarity = percent(match.similarity);
  const others = match.face_count > 1 ? `, best of ${match.face_count} matching faces` : "";
  const told = [
    h("span", { class: "match-text" },
      h("bdi", { class: match.person_name ? "person" : "person unnamed" }, name),
      match.face_count > 1 ? h("span", { class: "muted small" }, `best of ${match.face_count} matching faces`) : null,
      h("meter", { min: 0, max: 1, value: Math.max(0, match.similarity), "aria-hidden": "true" })),
    h("span", { class: "similarity" }, similarity),
  ];
  // A face that came as an embedding has no photo to open.
  if (!match.photo_id) return h("li", {}, h("div", { class: "match" }, h("span", { class: "crop" }), ...told));
  return h("li", {},
    h("a", { class: "match", href: `#photo/${match.photo_id}`, "aria-label": `${name}, similarity ${similarity}${others}, open the photo` },
      h("img", { class: "crop", src: cropUrl(match.face_id), alt: "", loading: "lazy", width: 56, height: 56 }),
      ...told));
}

function fail(error) {
  const text = error.code === "network" ? "The server cannot be reached. Check your connection." : inWords(error);
  layout([], h("div", { class: "status error", role: "alert" }, h("p", {}, text),
    error.temporary || error.status === 404 ? h("button", { type: "button", onclick: run }, "Search again") : null));
  say("");
}
