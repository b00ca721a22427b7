// One photo, large, over any page: its address is /photos/ID for as long as it is open, and a link to that address
// opens it in place. What it shows is loaded when it is opened first (viewer/dialog.js).

import { photoUrl } from "./api.js";
import { h } from "./dom.js";
import { t } from "./texts.js";

const dialog = h("dialog", { id: "viewer", class: "viewer", "aria-labelledby": "viewer-title" },
  h("header", {}, h("div", { class: "viewer-head" }, h("h2", { id: "viewer-title", tabindex: "-1" }, t("viewer.photo")), h("p", { id: "viewer-facts", class: "muted" }))),
  h("div", { id: "viewer-body", class: "viewer-body" }));
let walk = null;
let viewer = null;
let behind = null;

const idOf = (path) => path.match(/^\/photos\/([0-9a-f-]{36})$/)?.[1] ?? null;

/**
 * Says which photos come before and behind the one that is open: `list` {search(): what stands behind the address,
 * beside(photo, step): Promise of an id, null at the end, undefined where the list does not have the photo, query():
 * parameters of GET /photos, by which its neighbours are asked for then}. A page has one; without, there are none.
 */
export function walkThrough(list) {
  walk = list;
}

/** Opens the photo that the address names, and those of links that are followed from here; the frame calls it. */
export function startViewer() {
  document.body.append(dialog);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='/photos/']");
    const id = link && idOf(new URL(link.href).pathname);
    if (!id || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link.hasAttribute("download")) return;
    event.preventDefault();
    openPhoto(id);
  });
  addEventListener("popstate", follow);
  follow();
}

function follow() {
  const id = idOf(location.pathname);
  if (id) return show(id);
  behind = null;
  viewer?.close();
  return undefined;
}

/** Opens the photo over the page; its address becomes the photo's. */
export function openPhoto(id) {
  if (idOf(location.pathname) === null) {
    behind = location.pathname + location.search;
    history.pushState({ viewer: true }, "", photoUrl(id) + (walk?.search() ?? ""));
  } else if (idOf(location.pathname) !== id) goTo(id);
  return show(id);
}

// Back closes the viewer, however many photos it went through.
function goTo(id) {
  history.replaceState(history.state, "", photoUrl(id) + location.search);
}

async function show(id) {
  viewer ??= (await import("../viewer/dialog.js")).makeViewer(dialog, {
    walk: () => walk,
    moved: goTo,
    closed: () => {
      // It was closed here, and not by Back.
      if (idOf(location.pathname) === null) return;
      if (history.state?.viewer) history.back();
      else history.replaceState(null, "", behind ?? `/photos${location.search}`);
      behind = null;
    },
  });
  // Meanwhile somebody may have gone back.
  if (idOf(location.pathname) === id) await viewer.show(id);
}
