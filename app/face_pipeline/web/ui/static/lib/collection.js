// The collection that all pages show: chosen once in the header, remembered by the browser, the same in all tabs.

import { get } from "./api.js";
import { byId, h } from "./dom.js";
import { t } from "./texts.js";

const KEY = "face-collection";
const PAGE = 200;
const listeners = new Set();
let names = null;

/** Its name; "" is all collections. */
export function current() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return byId("collection")?.value ?? "";
  }
}

/** Calls `listener(name)` whenever another one is chosen. Returns a function that ends it. */
export function onCollection(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function choose(name) {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // The choice lasts as long as the page.
  }
  show(name);
  for (const listener of listeners) listener(name);
}

/** Names of all collections that the key reaches, asked for once. `anew`: ask again. */
export function collections({ anew = false } = {}) {
  if (anew) names = null;
  names ??= load().catch((error) => {
    names = null;
    throw error;
  });
  return names;
}

async function load() {
  const found = [];
  let cursor = null;
  do {
    const answer = await get("/collections", { query: { limit: PAGE, cursor } });
    found.push(...answer.collections.map((each) => each.name));
    cursor = answer.next_cursor;
  } while (cursor);
  return found;
}

function show(name) {
  const picker = byId("collection");
  if (!picker) return;
  if (![...picker.options].some((option) => option.value === name)) picker.append(h("option", { value: name }, name));
  picker.value = name;
  picker.title = name || t("frame.collection.all");
}

/** Fills the picker of the header; the frame calls it. */
export async function startPicker() {
  const picker = byId("collection");
  if (!picker) return;
  show(current());
  picker.addEventListener("change", () => choose(picker.value));
  addEventListener("storage", ({ key, newValue }) => {
    if (key !== KEY) return;
    show(newValue ?? "");
    for (const listener of listeners) listener(newValue ?? "");
  });
  const draw = async (anew) => {
    const found = await collections({ anew });
    const chosen = current();
    // What was chosen may have been deleted, or not be there yet; it stays, and the pages say that it is empty.
    const all = [...new Set([...found, ...(chosen ? [chosen] : [])])];
    picker.replaceChildren(h("option", { value: "" }, t("frame.collection.all")), ...all.map((name) => h("option", { value: name }, name)));
    picker.value = chosen;
  };
  document.addEventListener("photo-finished", () => draw(true).catch(() => {}));
  await draw(false).catch(() => {});
}
