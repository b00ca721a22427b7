// One photo, large, with its faces. A native dialog: Escape closes it, focus stays inside and goes back.

import { cropUrl, get, pictureUrl, uprightUrl } from "./api.js";
import { byId, bytes, count, h, percent, time } from "./dom.js";
import { boxedPhoto } from "./faces.js";
import { watch } from "./watch.js";
import { FINISHED, inWords, STATES } from "./words.js";

const dialog = byId("viewer");
let showing = null;
let unwatch = () => {};

/** `closed()` is called when the dialog was closed, however. */
export function startViewer(closed) {
  byId("viewer-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    showing = null;
    unwatch();
    byId("viewer-body").replaceChildren();
    closed();
  });
}

export function closePhoto() {
  if (dialog.open) dialog.close();
}

export async function openPhoto(id) {
  if (showing === id) return;
  showing = id;
  unwatch();
  byId("viewer-title").textContent = "Photo";
  byId("viewer-facts").textContent = "";
  byId("viewer-body").replaceChildren(h("p", { class: "status loading", role: "status" }, "Loading the photo…"));
  if (!dialog.open) dialog.showModal();
  byId("viewer-title").focus();
  try {
    const photo = await get(`/photos/${encodeURIComponent(id)}`);
    if (showing === id) show(photo);
  } catch (error) {
    if (showing === id) fail(error, id);
  }
}

function fail(error, id) {
  const text = error.status === 404 ? "This photo does not exist (any more)." : inWords(error);
  const again = () => {
    showing = null;
    openPhoto(id);
  };
  byId("viewer-body").replaceChildren(
    h("div", { class: "status error", role: "alert" }, h("p", {}, text),
      error.status === 404 ? null : h("button", { type: "button", onclick: again }, "Try again")));
}

function show(photo) {
  byId("viewer-title").replaceChildren(h("bdi", {}, photo.filename));
  const size = photo.width ? `${photo.width} × ${photo.height}` : "";
  byId("viewer-facts").replaceChildren(
    [photo.collection, size, bytes(photo.byte_size)].filter(Boolean).join(" · "), " · received ", time(photo.received_at));
  const list = h("ol", { class: "faces" });
  const picture = boxedPhoto(pictureUrl(photo), `${photo.filename}, ${count(photo.faces.length, "face")}`, photo.faces, {
    size: photo.width ? photo : null,
    another: () => uprightUrl(photo.id),
    onPick: (index) => list.children[index].firstChild.focus(),
    onBroken: () => picture.figure.replaceChildren(h("p", { class: "status" }, "The browser cannot show this photo.")),
  });
  photo.faces.forEach((face, index) => list.append(faceItem(face, index, picture.mark)));
  byId("viewer-body").replaceChildren(
    h("div", { class: "stage" }, picture.figure),
    h("aside", { class: "side", "aria-label": "Faces" }, heading(photo), list));
  if (!FINISHED.has(photo.state)) {
    unwatch = watch(photo, (news) => FINISHED.has(news.state) && reload(photo.id));
  }
}

function reload(id) {
  if (showing !== id) return;
  showing = null;
  openPhoto(id);
}

function heading(photo) {
  const reason = photo.reason ? h("p", { class: "reason" }, inWords(photo.reason)) : null;
  if (!FINISHED.has(photo.state)) {
    return h("div", {}, h("h3", {}, STATES[photo.state]), h("p", { class: "muted" }, "Its faces appear here once a worker has looked at it."), reason);
  }
  if (photo.state === "failed") return h("div", {}, h("h3", { class: "bad" }, "Failed"), reason);
  const title = photo.faces.length ? count(photo.faces.length, "face") : "No face found";
  const hint = photo.faces.length ? null : h("p", { class: "muted" }, "Small, turned away or half-hidden faces can be missed.");
  return h("div", {}, h("h3", {}, title), hint, reason);
}

function faceItem(face, index, mark) {
  const name = face.person?.name;
  return h("li", {},
    h("button", {
      type: "button", class: "face", "data-face": index,
      onmouseenter: () => mark(index), onmouseleave: () => mark(null),
      onfocus: () => mark(index), onblur: () => mark(null),
    },
    h("span", { class: "number", "aria-hidden": "true" }, String(index + 1)),
    h("img", { class: "crop", src: cropUrl(face.id), alt: "", loading: "lazy", width: 56, height: 56 }),
    h("span", { class: "face-text" },
      h("bdi", { class: name ? "person" : "person unnamed" }, name ?? "unnamed"),
      h("span", { class: "scores" },
        h("span", {}, "detection ", h("b", {}, percent(face.detection_score))),
        h("span", {}, "quality ", h("b", {}, percent(face.quality)))))));
}
