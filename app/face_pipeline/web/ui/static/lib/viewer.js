// One photo, large, with its faces. A native dialog: Escape closes it, focus stays inside and goes back. Any page may
// open it: its address is /photos/ID for as long as it is open, and a link to that address opens it in place.

import { cropUrl, get, photoUrl, pictureUrl, uprightUrl } from "./api.js";
import { boxedPhoto } from "./boxes.js";
import { byId, h, icon } from "./dom.js";
import { t } from "./texts.js";
import { time } from "./time.js";
import { watch } from "./watch.js";
import { bytes, FINISHED, inWords, percent, state } from "./words.js";

let dialog = null;
let showing = null;
let behind = null;
let unwatch = () => {};

function make() {
  const close = h("button", { id: "viewer-close", type: "button", "aria-label": t("viewer.close_photo"), onclick: () => dialog.close() },
    icon("close"), t("frame.close"));
  dialog = h("dialog", { id: "viewer", class: "viewer", "aria-labelledby": "viewer-title" },
    h("header", {},
      h("div", {}, h("h2", { id: "viewer-title", tabindex: "-1" }), h("p", { id: "viewer-facts", class: "muted" })), close),
    h("div", { id: "viewer-body", class: "viewer-body" }));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    showing = null;
    unwatch();
    byId("viewer-body").replaceChildren();
    if (behind !== null) history.pushState(null, "", behind);
    behind = null;
  });
  document.body.append(dialog);
}

const idOf = (path) => path.match(/^\/photos\/([0-9a-f-]{36})$/)?.[1] ?? null;

/** Opens the photo that the address names, and those of links that are followed from here; the frame calls it. */
export function startViewer() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='/photos/']");
    const id = link && idOf(link.getAttribute("href"));
    if (!id || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    openPhoto(id);
  });
  addEventListener("popstate", follow);
  follow();
}

function follow() {
  const id = idOf(location.pathname);
  if (id) return openPhoto(id, { address: false });
  behind = null;
  if (dialog?.open) dialog.close();
  return undefined;
}

/** Opens the photo over the page. `address`: whether the address becomes the photo's. */
export async function openPhoto(id, { address = true } = {}) {
  if (showing === id) return;
  if (!dialog) make();
  if (address) {
    behind ??= location.pathname + location.search;
    history.pushState(null, "", photoUrl(id));
  }
  if (behind === null) behind = "/photos";
  showing = id;
  unwatch();
  byId("viewer-title").textContent = t("viewer.photo");
  byId("viewer-facts").textContent = "";
  byId("viewer-body").replaceChildren(h("p", { class: "status loading", role: "status" }, t("viewer.loading")));
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
  const text = error.status === 404 ? t("viewer.gone") : inWords(error);
  const again = () => {
    showing = null;
    openPhoto(id, { address: false });
  };
  byId("viewer-body").replaceChildren(
    h("div", { class: "status error", role: "alert" }, h("p", {}, text),
      error.status === 404 ? null : h("button", { type: "button", onclick: again }, t("frame.try_again"))));
}

function show(photo) {
  byId("viewer-title").replaceChildren(h("bdi", { dir: "auto" }, photo.filename));
  const size = photo.width ? `${photo.width} × ${photo.height}` : "";
  byId("viewer-facts").replaceChildren(
    [photo.collection, size, bytes(photo.byte_size)].filter(Boolean).join(" · "), " · ", t("viewer.received"), " ", time(photo.received_at));
  const list = h("ol", { class: "faces" });
  const picture = boxedPhoto(pictureUrl(photo), `${photo.filename}, ${t("words.faces", { n: photo.faces.length })}`, photo.faces, {
    size: photo.width ? photo : null,
    another: () => uprightUrl(photo.id),
    onPick: (index) => list.children[index].firstChild.focus(),
    onBroken: () => picture.figure.replaceChildren(h("p", { class: "status" }, t("viewer.cannot_show"))),
  });
  photo.faces.forEach((face, index) => list.append(faceItem(face, index, picture.mark)));
  byId("viewer-body").replaceChildren(
    h("div", { class: "stage" }, picture.figure),
    h("aside", { class: "side", "aria-label": t("viewer.faces") }, heading(photo), list));
  if (!FINISHED.has(photo.state)) {
    unwatch = watch(photo, (news) => FINISHED.has(news.state) && reload(photo.id));
  }
}

function reload(id) {
  if (showing !== id) return;
  showing = null;
  openPhoto(id, { address: false });
}

function heading(photo) {
  const reason = photo.reason ? h("p", { class: "reason" }, inWords(photo.reason)) : null;
  if (!FINISHED.has(photo.state)) {
    return h("div", {}, h("h3", {}, state(photo.state)), h("p", { class: "muted" }, t("viewer.waits")), reason);
  }
  if (photo.state === "failed") return h("div", {}, h("h3", { class: "bad" }, state("failed")), reason);
  const title = photo.faces.length ? t("words.faces", { n: photo.faces.length }) : t("viewer.no_face");
  const hint = photo.faces.length ? null : h("p", { class: "muted" }, t("viewer.missed"));
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
    h("span", { class: "number-tag", "aria-hidden": "true" }, String(index + 1)),
    h("img", { class: "crop", src: cropUrl(face.id), alt: "", loading: "lazy", width: 56, height: 56 }),
    h("span", { class: "face-text" },
      h("bdi", { dir: "auto", class: name ? "person" : "person unnamed" }, name ?? t("words.unnamed")),
      h("span", { class: "scores" },
        h("span", {}, t("words.detection"), " ", h("b", {}, percent(face.detection_score))),
        h("span", {}, t("words.quality"), " ", h("b", {}, percent(face.quality)))))));
}
