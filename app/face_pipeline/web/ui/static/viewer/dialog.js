// What is in the dialog of a photo. A native one: Escape closes it, focus stays inside and goes back.

import { imageUrl, pictureUrl, uprightUrl } from "../lib/api.js";
import { boxedPhoto } from "../lib/boxes.js";
import { byId, h, icon, iconButton, named, put } from "../lib/dom.js";
import { shortcut, showShortcuts } from "../lib/keys.js";
import { fail } from "../lib/messages.js";
import { can } from "../lib/scopes.js";
import { t } from "../lib/texts.js";
import { time } from "../lib/time.js";
import { watch } from "../lib/watch.js";
import { bytes, FINISHED, inWords, percent } from "../lib/words.js";
import { erase, retry } from "../photos/acts.js";
import { cannot, facts, howItIs, trail } from "./details.js";
import { faceList, fetchPhoto } from "./faces.js";
import { beside } from "./neighbours.js";
import { zoom } from "./zoom.js";

const BOXES = "face-boxes";
// Above this many bytes the photo behind this one is not fetched before somebody goes there.
const AHEAD = 4 * 1024 * 1024;

/**
 * In `dialog`, as lib/viewer.js makes it. `walk()`: the list that the page has, as of walkThrough(); `moved(id)`: another photo of it is shown; `closed()`.
 * Returns {show(id), close()}.
 */
export function makeViewer(dialog, { walk, moved, closed }) {
  let showing = null;
  let photo = null;
  let figure = null;
  let mark = () => {};
  let unwatch = () => {};
  // Step -> promise of the id there.
  let around = {};

  const stage = h("div", { class: "viewer-picture" });
  const [before, behind] = [-1, 1].map((step) => iconButton(step < 0 ? "left" : "right", t(step < 0 ? "viewer.before" : "viewer.behind"), () => go(step), { class: `viewer-step ${step < 0 ? "before" : "behind"}`, hidden: true }));
  const frame = h("div", { class: "viewer-stage" }, stage, before, behind);
  const side = h("aside", { class: "side", "aria-label": t("viewer.side") });
  const boxes = iconButton("show", t("viewer.boxes"), () => showBoxes(boxes.getAttribute("aria-pressed") !== "true"), { id: "viewer-boxes", "aria-pressed": "true" });
  const scale = h("button", { type: "button", id: "viewer-scale", class: "quiet", title: t("viewer.fit"), onclick: () => look.fit() });
  const save = h("a", { id: "viewer-download", class: "button quiet icon-only", "aria-label": t("viewer.download"), title: t("viewer.download"), download: true }, icon("download"));
  const remove = can("erase") ? iconButton("delete", t("viewer.delete"), eraseIt, { id: "viewer-delete" }) : null;
  const [title, told, body] = ["viewer-title", "viewer-facts", "viewer-body"].map(byId);
  title.parentNode.after(h("div", { class: "viewer-tools" }, boxes,
    h("span", { class: "viewer-zoom" }, iconButton("zoom-out", t("viewer.smaller"), () => look.by(-1)), scale, iconButton("zoom-in", t("viewer.larger"), () => look.by(1))),
    save, remove, iconButton("close", t("viewer.close_photo"), () => dialog.close(), { id: "viewer-close" })));
  const look = zoom(stage, {
    content: () => figure,
    size: () => (photo?.width ? photo : { width: figure.firstChild.naturalWidth || 4, height: figure.firstChild.naturalHeight || 3 }),
    swiped: go,
    changed: (share) => (scale.textContent = percent(share)),
  });

  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    const id = showing;
    showing = null;
    unwatch();
    put(stage);
    put(body);
    closed();
    document.dispatchEvent(new CustomEvent("viewer-closed", { detail: { id } }));
  });
  showBoxes(remembered() !== "off");
  listen();

  async function show(id) {
    if (showing === id) return;
    showing = id;
    around = {};
    unwatch();
    title.textContent = t("viewer.photo");
    told.textContent = "";
    // The photo before stays until this one is there.
    body.setAttribute("aria-busy", "true");
    if (frame.parentNode !== body) put(body, h("p", { class: "status loading", role: "status" }, t("viewer.loading")));
    await styled();
    if (showing !== id) return;
    if (!dialog.open) {
      dialog.showModal();
      title.focus();
    }
    await load(id);
    if (showing !== id) return;
    body.removeAttribute("aria-busy");
    if (!dialog.contains(document.activeElement)) title.focus();
  }

  /** Shows the photo as it is now; the face of `faceId` stays open. */
  async function load(id, faceId = null) {
    try {
      const now = await fetchPhoto(id);
      if (showing !== id) return;
      draw(now, faceId);
      if (!Object.keys(around).length) lookAround();
    } catch (error) {
      if (showing !== id) return;
      put(body, h("div", { class: "status error", role: "alert" }, h("p", {}, error.status === 404 ? t("viewer.gone") : inWords(error)),
        error.status === 404 ? null : h("button", { type: "button", onclick: () => load(id) }, t("frame.try_again"))));
    }
  }

  function draw(now, faceId) {
    const sameBoxes = photo?.id === now.id && body.contains(frame) && boxesOf(photo) === boxesOf(now);
    photo = now;
    put(title, h("bdi", { dir: "auto" }, now.filename));
    const size = now.width ? `${now.width} × ${now.height}` : "";
    put(told, [now.collection, size, bytes(now.byte_size)].filter(Boolean).join(" · "), " · ", t("viewer.received"), " ", time(now.received_at));
    save.href = imageUrl(now.id);
    save.download = now.filename;
    if (!sameBoxes) picture(now);
    const list = faceList(now, { mark: (index) => mark(index), changed });
    stage.pick = list.open;
    put(side, howItIs(now, can("write") ? retryIt : null), now.faces.length ? list.element : null, trail(now), facts(now));
    if (frame.parentNode !== body) put(body, frame, side);
    if (!sameBoxes) look.fit();
    const at = now.faces.findIndex((face) => face.id === faceId);
    if (at >= 0) list.element.children[at].querySelector("button").focus();
    unwatch();
    if (!FINISHED.has(now.state)) unwatch = watch(now, (news) => FINISHED.has(news.state) && showing === now.id && load(now.id));
  }

  function picture(now) {
    const made = boxedPhoto(pictureUrl(now), `${now.filename}, ${t("words.faces", { n: now.faces.length })}`, now.faces, {
      size: now.width ? now : null,
      another: () => uprightUrl(now.id),
      onPick: (index) => stage.pick(index),
      onBroken: () => {
        made.figure.replaceWith(cannot());
        figure = null;
      },
    });
    figure = made.figure;
    mark = made.mark;
    figure.firstChild.draggable = false;
    figure.firstChild.addEventListener("load", () => {
      look.fit();
      figure?.setAttribute("data-loaded", "");
      ahead();
    });
    put(stage, figure);
  }

  async function changed(id, faceId) {
    if (showing !== id) return;
    await load(id, faceId);
    document.dispatchEvent(new CustomEvent("photo-changed", { detail: { ...photo, face_count: photo.faces.length } }));
  }

  // What is beside it, by the page's list, or asked for where that does not reach.
  function at(step) {
    const list = walk();
    const from = photo;
    return (around[step] ??= !list || !from ? Promise.resolve(null) : (async () => {
      const id = await list.beside(from, step);
      return id === undefined ? beside(from, step, list.query()) : id;
    })().catch(() => null));
  }

  function lookAround() {
    for (const [step, button] of [[-1, before], [1, behind]]) {
      const id = showing;
      at(step).then((found) => {
        if (showing !== id) return;
        const had = button === document.activeElement;
        button.hidden = found === null;
        if (had && button.hidden) title.focus();
      });
    }
  }

  async function ahead() {
    const id = showing;
    const next = await at(1);
    if (!next || showing !== id) return;
    const other = await fetchPhoto(next).catch(() => null);
    if (other && showing === id && other.byte_size < AHEAD) new Image().src = pictureUrl(other);
  }

  async function go(step) {
    if (!photo || photo.id !== showing) return;
    const from = showing;
    const id = await at(step);
    if (id === null || showing !== from) return;
    moved(id);
    await show(id);
  }

  async function eraseIt() {
    const it = photo;
    const next = (await at(1)) ?? (await at(-1));
    try {
      if (!(await erase([it]))?.length) return;
      document.dispatchEvent(new CustomEvent("photos-gone", { detail: { ids: [it.id] } }));
      if (showing !== it.id) return;
      if (!next) return dialog.close();
      moved(next);
      await show(next);
    } catch (error) {
      fail(error);
    }
    return undefined;
  }

  async function retryIt() {
    try {
      if (await retry([photo])) await changed(photo.id, null);
    } catch (error) {
      fail(error);
    }
  }

  function showBoxes(shown) {
    dialog.toggleAttribute("data-no-boxes", !shown);
    boxes.setAttribute("aria-pressed", String(shown));
    try {
      localStorage.setItem(BOXES, shown ? "on" : "off");
    } catch {
      // As long as the page lasts.
    }
  }

  function listen() {
    const inside = { inDialog: true, when: () => dialog.open && [...document.querySelectorAll("dialog:modal")].at(-1) === dialog };
    const key = (name, words, run) => shortcut(name, words, run, inside);
    key("ArrowLeft", t("viewer.before"), (event) => (event.shiftKey ? look.pan(-1, 0) : go(-1)));
    key("ArrowRight", t("viewer.behind"), (event) => (event.shiftKey ? look.pan(1, 0) : go(1)));
    key("ArrowUp", t("viewer.pan"), (event) => (event.shiftKey ? look.pan(0, -1) : scroll(-1)));
    key("ArrowDown", t("viewer.pan"), (event) => (event.shiftKey ? look.pan(0, 1) : scroll(1)));
    key("+", t("viewer.larger"), () => look.by(1));
    key("-", t("viewer.smaller"), () => look.by(-1));
    key("0", t("viewer.fit"), () => look.fit());
    key("b", t("viewer.boxes"), () => boxes.click());
    key("?", t("frame.show_shortcuts"), showShortcuts);
    if (remove) key("Delete", t("viewer.delete"), eraseIt);
  }
  const scroll = (way) => (body.querySelector(".side") ?? body).scrollBy({ top: way * 80 });

  return { show, close: () => dialog.open && dialog.close() };
}

const boxesOf = (photo) => `${photo.state} ${photo.faces.map((face) => face.id).join(" ")}`;

function remembered() {
  try {
    return localStorage.getItem(BOXES);
  } catch {
    return null;
  }
}

// The style comes with the viewer, not with every page.
let style = null;
function styled() {
  return (style ??= new Promise((resolve) => {
    const link = h("link", { rel: "stylesheet", href: new URL("./viewer.css", import.meta.url).href, onload: resolve, onerror: resolve });
    document.head.append(link);
  }));
}
