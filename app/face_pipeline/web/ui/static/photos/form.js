// The fields of the filter, and the address that says the same.

import { get } from "../lib/api.js";
import { choose, current } from "../lib/collection.js";
import { combobox, persons } from "../lib/dialogs.js";
import { byId, h, put } from "../lib/dom.js";
import { t } from "../lib/texts.js";
import { inWords } from "../lib/words.js";
import { active, collectionOf, read, same, written } from "./filter.js";

// Milliseconds without a key after which a name counts as typed.
const TYPED = 350;
const PLAIN = ["filename", "state", "reason", "faces", "from", "to", "sort"];

const field = (name) => byId(`library-${name}`);

/** Fills the fields from the address; `changed()`: another filter. Returns {filter(), search(), clear()}. */
export function filterForm(changed) {
  let filter = read(location.search);
  let timer = null;
  let typing = false;

  function take(news, { typed = false } = {}) {
    const next = { ...filter, ...news };
    // A reason is one of failed photos.
    if (next.state && next.state !== "failed") next.reason = "";
    if (same(next, filter)) return;
    filter = next;
    // One step back for a name, not one for each letter.
    history[typed && typing ? "replaceState" : "pushState"](null, "", `/photos${search()}`);
    typing = typed;
    show();
    changed();
  }

  function show() {
    for (const name of PLAIN) if (field(name).value !== filter[name] && document.activeElement !== field(name)) setValue(field(name), filter[name]);
    if (!filter.person_id && document.activeElement !== field("person")) field("person").value = "";
    const set = active(filter);
    put(byId("library-active"), set).hidden = set === 0;
    byId("library-clear").hidden = set === 0;
    byId("library-reason-field").hidden = filter.state !== "failed" && !filter.reason;
    if (!byId("library-reason-field").hidden) reasons();
    byId("library-batch").hidden = !filter.batch;
    if (filter.person_id) nameOf(filter.person_id);
  }

  // The address holds who by their id.
  async function nameOf(id) {
    if (field("person").dataset.id === id) return;
    field("person").dataset.id = id;
    try {
      field("person").value = (await get(`/persons/${id}`)).name;
    } catch {
      field("person").value = t("photos.person_gone");
    }
  }

  async function reasons() {
    try {
      const { failures } = await get("/failures", { query: { collection: current() }, etag: true });
      const known = failures.map(({ reason, words, photos }) => [reason, `${inWords({ code: reason, message: words })} (${photos})`]);
      if (filter.reason && !known.some(([code]) => code === filter.reason)) known.push([filter.reason, filter.reason]);
      put(field("reason"), h("option", { value: "" }, t("photos.every_reason")), known.map(([value, words]) => h("option", { value }, words)));
      field("reason").value = filter.reason;
    } catch {
      // The state is filter enough.
    }
  }

  const search = () => written(filter, current());
  const clear = () => {
    for (const name of ["person", ...PLAIN]) field(name).blur();
    field("person").dataset.id = "";
    take({ ...read(""), sort: filter.sort });
  };

  byId("library-fields").addEventListener("submit", (event) => event.preventDefault());
  for (const name of PLAIN.slice(1)) field(name).addEventListener("change", () => take(read(`?${new URLSearchParams({ ...filter, [name]: field(name).value })}`)));
  field("filename").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => take({ filename: field("filename").value.trim() }, { typed: true }), TYPED);
  });
  field("filename").addEventListener("blur", () => (typing = false));
  combobox(field("person"), {
    suggest: persons(current),
    onPick: (item) => {
      field("person").dataset.id = item.value;
      take({ person_id: item.value });
    },
  });
  field("person").addEventListener("input", () => {
    field("person").dataset.id = "";
    if (!field("person").value.trim()) take({ person_id: "" });
  });
  // What was typed and not chosen filters nothing.
  field("person").addEventListener("blur", () => filter.person_id && nameOf(filter.person_id));
  byId("library-clear").addEventListener("click", clear);
  byId("library-whole").addEventListener("click", () => take({ batch: "" }));
  byId("library-filters").addEventListener("click", () => {
    const open = byId("library-fields").toggleAttribute("data-open");
    byId("library-filters").setAttribute("aria-expanded", String(open));
  });
  addEventListener("popstate", () => {
    if (!/^\/photos(\/|$)/.test(location.pathname)) return;
    const [before, where] = [filter, collectionOf(location.search)];
    filter = read(location.search);
    show();
    if (where !== current()) choose(where);
    else if (!same(before, filter)) changed();
  });
  show();
  return { filter: () => filter, search, clear };
}

// A reason may not be among the options yet.
function setValue(element, value) {
  if (element.tagName === "SELECT" && ![...element.options].some((option) => option.value === value)) element.append(h("option", { value }, value));
  element.value = value;
}
