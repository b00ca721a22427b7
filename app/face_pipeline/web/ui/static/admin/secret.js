// A text that the service tells once: a key, a secret. It is in the page as long as its dialog is open.

import { h, icon, put } from "../lib/dom.js";
import { t } from "../lib/texts.js";

const SAID = 4000;
let numbered = 0;

// Without https a browser has no clipboard for pages; it still copies what is selected.
async function copy(code) {
  if (navigator.clipboard?.writeText) {
    try {
      return await navigator.clipboard.writeText(code.textContent);
    } catch {
      // Not allowed here: the older way.
    }
  }
  getSelection().selectAllChildren(code);
  if (!document.execCommand("copy")) throw new Error("not copied");
  return undefined;
}

/** Shows `secret` in a dialog that only its own button closes. `lead`: nodes above it. Resolves once it is closed. */
export function showOnce({ title, lead, label, secret }) {
  const id = `secret-${++numbered}`;
  const code = h("code", { id, tabindex: "0", role: "textbox", "aria-readonly": "true", "aria-label": label }, secret);
  const said = h("span", { class: "small muted", role: "status" });
  const button = h("button", { type: "button", class: "primary", onclick: async () => {
    try {
      await copy(code);
      put(said, t("secret.copied"));
    } catch {
      getSelection().selectAllChildren(code);
      put(said, t("secret.not_copied"));
    }
    setTimeout(() => put(said), SAID);
  } }, icon("copy"), t("secret.copy"));
  const stay = (event) => event.preventDefault();
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "dialog form", closedby: "none", "aria-labelledby": `${id}-title` },
      h("header", { class: "dialog-head" }, h("h2", { id: `${id}-title` }, title)),
      h("div", { class: "dialog-body" },
        h("p", {}, lead),
        h("div", { class: "secret" }, code, h("div", { class: "actions" }, button), said),
        h("p", { class: "banner", "data-kind": "warning" }, t("secret.once")),
        h("div", { class: "dialog-actions" }, h("button", { type: "button", class: "kept", onclick: () => dialog.close() }, t("secret.kept")))));
    // Escape by mistake would lose it, and so would leaving the page.
    dialog.addEventListener("cancel", stay);
    dialog.addEventListener("keydown", (event) => event.key === "Escape" && event.preventDefault());
    addEventListener("beforeunload", stay);
    dialog.addEventListener("close", () => {
      removeEventListener("beforeunload", stay);
      getSelection().removeAllRanges();
      code.textContent = "";
      dialog.remove();
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
    button.focus();
  });
}
