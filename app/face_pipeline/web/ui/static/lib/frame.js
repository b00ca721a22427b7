// What is around every page: the collection, health, messages, signing out, and what addresses of before lead to.

import { signOut } from "./api.js";
import { startPicker } from "./collection.js";
import { byId } from "./dom.js";
import { startHealth } from "./health.js";
import { shortcut, showShortcuts } from "./keys.js";
import { tell } from "./messages.js";
import { t } from "./texts.js";
import { startViewer } from "./viewer.js";

// Addresses that this page had before.
const OLD = [
  [/^#photo\/([0-9a-f-]+)$/, (found) => `/photos/${found[1]}`],
  [/^#photos$/, () => "/photos"],
  [/^#search$/, () => "/search"],
];

function lead() {
  if (location.pathname !== "/") return;
  for (const [pattern, address] of OLD) {
    const found = location.hash.match(pattern);
    if (found) location.replace(address(found));
  }
}

byId("sign-out").addEventListener("click", async () => {
  try {
    await signOut();
    location.assign("/sign-in");
  } catch {
    tell(t("frame.sign_out_failed"), { kind: "bad" });
  }
});

// Another key may have signed in, in the place of the one before.
document.addEventListener("signed-in", ({ detail }) => {
  byId("key-name").textContent = detail.name;
  if (detail.scopes.join(" ") !== document.body.dataset.scopes) tell(t("frame.other_key"), { action: { text: t("frame.reload"), run: () => location.reload() } });
});

const sheet = byId("more-sheet");
byId("more").addEventListener("click", () => sheet.showModal());
for (const dialog of [sheet, byId("uploads-drawer")].filter(Boolean)) {
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

shortcut("?", t("frame.show_shortcuts"), showShortcuts);
lead();
addEventListener("hashchange", lead);
startPicker();
startHealth();
startViewer();
if (byId("uploads-drawer")) await import("../uploads/uploads.js").then(({ startUploads }) => startUploads());
// For whoever drives the page.
document.body.dataset.ready = "true";
