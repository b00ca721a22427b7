// The app page: which view is shown, the photo that is open, and the session.
// The address says all of it (#photos, #search, #photo/ID), so that reload, back and links work.

import { signOut } from "./api.js";
import { byId, h } from "./dom.js";
import { startLibrary } from "./library.js";
import { startSearch } from "./search.js";
import { startUploads } from "./uploads.js";
import { closePhoto, openPhoto, startViewer } from "./viewer.js";

let view = "photos";

function route() {
  const [name, id] = location.hash.slice(1).split("/");
  if (name === "photo" && id) {
    openPhoto(id);
    return;
  }
  closePhoto();
  show(byId(`view-${name}`) ? name : "photos");
}

function show(name) {
  view = name;
  for (const section of document.querySelectorAll(".view")) section.hidden = section.id !== `view-${name}`;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name === "search" ? "Search" : "Photos"} · Face Pipeline`;
}

function notice(...content) {
  const place = byId("notice");
  place.replaceChildren(...content);
  place.hidden = false;
}

byId("sign-out").addEventListener("click", async () => {
  try {
    await signOut();
    location.assign("/");
  } catch {
    notice("Signing out did not work: the server cannot be reached. Try again.");
  }
});

document.addEventListener("signed-out", () =>
  notice("You are signed out: the session ended or the key was revoked. ", h("a", { href: "/" }, "Sign in again")));

document.querySelector(".skip").addEventListener("click", (event) => {
  // The address belongs to the views.
  event.preventDefault();
  byId("main").focus();
});

startViewer(() => {
  if (location.hash.startsWith("#photo/")) history.replaceState(null, "", `#${view}`);
});
startUploads();
startLibrary();
startSearch();
show(view);
addEventListener("hashchange", route);
route();
