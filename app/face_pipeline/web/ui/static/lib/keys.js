// Keyboard shortcuts; "?" shows those of the page.

import { h } from "./dom.js";
import { open } from "./dialogs.js";
import { t } from "./texts.js";

const shortcuts = new Map();
const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", " ": "Space" };

/**
 * Calls `run(event)` for `key` (as KeyboardEvent.key), not while somebody types or a modifier is held. `text`: what
 * it does. `when()`: whether it counts now; `inDialog`: also while a dialog is open. Returns a function that ends it.
 */
export function shortcut(key, text, run, { when = () => true, inDialog = false } = {}) {
  const entry = { text, run, when, inDialog };
  shortcuts.set(key, [...(shortcuts.get(key) ?? []), entry]);
  return () => shortcuts.set(key, shortcuts.get(key).filter((each) => each !== entry));
}

const types = (element) =>
  element.isContentEditable || element.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=button], [type=range])");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || types(event.target)) return;
  const dialog = document.querySelector("dialog:modal");
  const entry = (shortcuts.get(event.key) ?? []).findLast((each) => (!dialog || each.inDialog) && each.when());
  if (!entry) return;
  event.preventDefault();
  entry.run(event);
});

export function showShortcuts() {
  const rows = [...shortcuts].flatMap(([key, entries]) => entries.filter((each) => each.when()).map((each) => [key, each.text]));
  return open({
    title: t("frame.shortcuts"),
    content: () => h("dl", { class: "shortcuts" }, rows.map(([key, text]) =>
      h("div", {}, h("dt", {}, h("kbd", {}, NAMES[key] ?? key)), h("dd", {}, text)))),
  });
}
