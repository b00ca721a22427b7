// The grid by keys: arrows move, Shift takes along, x chooses, Ctrl+A chooses all that is loaded.

import { shortcut } from "../lib/keys.js";
import { t } from "../lib/texts.js";

const inGrid = () => document.activeElement.closest("#library-grid") !== null;
// Where nothing else has the focus, arrows begin at the first photo.
const free = () => inGrid() || document.activeElement === document.body || document.activeElement.id === "main";

/** `at()`: index of the photo that has the focus, or had it last; `look(index)` gives it to another. */
export function moveWithKeys({ list, grid, chosen, look, at, pickable, bar }) {
  const go = (event, next) => {
    const items = list.items();
    if (!items.length) return;
    const from = Math.max(0, at());
    const index = inGrid() ? Math.min(items.length - 1, Math.max(0, next(from))) : from;
    look(index);
    if (event.shiftKey && pickable) chosen.upTo(items[index], items[from]);
  };
  const steps = {
    ArrowLeft: (from) => from - 1, ArrowRight: (from) => from + 1,
    ArrowUp: (from) => grid.beside(from, -1), ArrowDown: (from) => grid.beside(from, 1),
    Home: () => 0, End: () => list.items().length - 1,
  };
  for (const [key, next] of Object.entries(steps)) {
    const told = { ArrowLeft: "photos.keys.left", ArrowRight: "photos.keys.right", ArrowUp: "photos.keys.up", ArrowDown: "photos.keys.down", Home: "photos.keys.first", End: "photos.keys.last" };
    shortcut(key, t(told[key]), (event) => go(event, next), { when: key.startsWith("Arrow") ? free : inGrid });
  }
  if (!pickable) return;
  shortcut("x", t("photos.keys.choose"), () => chosen.toggle(list.items()[at()]), { when: () => inGrid() && at() >= 0 });
  shortcut("Escape", t("photos.keys.none"), () => chosen.clear(), { when: () => chosen.size() > 0 });
  shortcut("Delete", t("photos.keys.erase"), () => bar.erase(), { when: () => chosen.size() > 0 && bar.erase !== null });
  // These two are heard here; the list of keys names them.
  shortcut("Shift + ←→", t("photos.keys.range"), () => {});
  shortcut("Ctrl + A", t("photos.keys.all"), () => {});
  document.addEventListener("keydown", (event) => {
    const types = event.target.matches("input, textarea, select");
    if (event.key !== "a" || !(event.ctrlKey || event.metaKey) || types || document.querySelector("dialog:modal")) return;
    event.preventDefault();
    for (const item of list.items()) if (!chosen.has(item.id)) return chosen.each(list.items());
    return undefined;
  });
}
