// People as cards: found by a part of the name, renamed where they stand, made one.

import { personUrl, post } from "../../lib/api.js";
import { current, onCollection } from "../../lib/collection.js";
import { byId, h, icon, named, put } from "../../lib/dom.js";
import { collectionNames, combobox, open } from "../../lib/dialogs.js";
import { shortcut } from "../../lib/keys.js";
import { pagedList } from "../../lib/paging.js";
import { empty } from "../../lib/states.js";
import { t, tx } from "../../lib/texts.js";
import { time } from "../../lib/time.js";
import { mergeThem, mergeWithSomebody, recent, sayMerged, undo } from "./merging.js";
import { rename } from "./renaming.js";
import { counts, may, menu, portrait, sayIt, selectionBar, told } from "./shared.js";

const PAGE = 60;
const PAUSE = 250;
const SORTS = ["name", "faces", "newest"];
const changes = may("enrol");

// id -> person
const chosen = new Map();
let list = null;
let bar = () => {};
let timer = null;

// The name stands behind the #, which browsers send to nobody.
const asked = () => ({
  sort: SORTS.find((each) => each === new URLSearchParams(location.search).get("sort")) ?? "name",
  name: new URLSearchParams(location.hash.slice(1)).get("name") ?? "",
});

function keepAddress() {
  const sort = byId("people-sort").value;
  const name = byId("people-name").value.trim();
  const query = sort === "name" ? "" : `?${new URLSearchParams({ sort })}`;
  const hash = name ? `#${new URLSearchParams({ name })}` : "";
  history.replaceState(history.state, "", `/people${query}${hash}`);
}

export function startList() {
  fromAddress();
  list = pagedList({
    place: byId("people-list"), path: "/persons", kind: "card", limit: PAGE,
    query: () => ({ name: byId("people-name").value.trim(), sort: byId("people-sort").value, collection: current() }),
    items: (answer) => answer.persons, draw: card, empty: nobody,
  });
  byId("people-name").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  });
  byId("people-find").addEventListener("submit", (event) => {
    event.preventDefault();
    look();
  });
  byId("people-sort").addEventListener("change", look);
  addEventListener("hashchange", () => {
    fromAddress();
    reload();
  });
  onCollection(reload);
  shortcut("/", t("people.keys.find"), () => byId("people-name").focus());
  if (changes) {
    const merge = h("button", { id: "people-merge", type: "button", class: "primary", onclick: mergeChosen }, icon("merge"), t("people.merge.button"));
    bar = selectionBar(byId("people"), { text: (n) => t("people.selected", { n }), actions: merge, clear });
    byId("people-new").addEventListener("click", make);
    shortcut("n", t("people.keys.new"), make);
    shortcut("m", t("people.keys.merge"), mergeChosen, { when: () => chosen.size > 1 });
    shortcut("Escape", t("people.keys.clear"), clear, { when: () => chosen.size > 0 });
  }
  reload();
}

function fromAddress() {
  const { sort, name } = asked();
  byId("people-sort").value = sort;
  byId("people-name").value = name;
}

function look() {
  clearTimeout(timer);
  keepAddress();
  reload();
}

function reload() {
  clear();
  drawRecent();
  return list.reload();
}

function nobody() {
  const name = byId("people-name").value.trim();
  if (name) return empty({ icon: "people", title: t("people.none_fits"), text: current() ? t("people.none_fits_help") : null });
  return empty({
    icon: "people", title: t("people.none"), text: t("people.none_help"),
    actions: [h("a", { class: "button", href: "/unknown" }, icon("unknown"), t("people.to_unknown"))],
  });
}

function card(person) {
  const item = h("li", { class: "person-card", "data-id": person.id, draggable: changes ? "true" : null });
  draw(item, person);
  if (changes) draggable(item);
  return item;
}

function draw(item, person) {
  item.person = person;
  const box = h("input", { type: "checkbox", checked: chosen.has(person.id), onchange: () => choose(item, box.checked) });
  const line = h("div", { class: "person-line" });
  const name = () => put(line,
    h("a", { class: "person-name", href: personUrl(person.id), draggable: "false" }, named(person.name)),
    changes && menu(t("people.more", { name: person.name }), [
      { text: t("people.rename.button"), icon: "edit", run: () => renameHere(item, line, name) },
      { text: t("people.merge.with"), icon: "merge", run: () => finish(mergeWithSomebody(item.person)) },
    ]));
  name();
  put(item,
    h("a", { class: "person-cover", href: personUrl(person.id), tabindex: "-1", "aria-hidden": "true", draggable: "false" }, portrait(person.cover_face_id, 320)),
    changes && h("label", { class: "choose" }, box, h("span", { class: "visually-hidden" }, t("people.choose", { name: person.name }))),
    line,
    h("p", { class: "muted small" }, counts(person)),
    current() ? null : h("p", { class: "muted small cut" }, person.collection));
  item.classList.toggle("chosen", chosen.has(person.id));
}

const cardOf = (id) => byId("people-list").querySelector(`[data-id="${id}"]`);

function drop(id) {
  chosen.delete(id);
  cardOf(id)?.remove();
  bar(chosen.size);
  if (!list.count()) reload();
}

function choose(item, on) {
  if (on) chosen.set(item.person.id, item.person);
  else chosen.delete(item.person.id);
  item.classList.toggle("chosen", on);
  byId("people-merge").disabled = chosen.size < 2;
  bar(chosen.size);
}

function clear() {
  chosen.clear();
  for (const box of byId("people-list").querySelectorAll(".choose input:checked")) {
    box.checked = false;
    box.closest("li").classList.remove("chosen");
  }
  bar(0);
}

function renameHere(item, line, name) {
  item.draggable = false;
  rename(line, item.person, {
    renamed: (person) => {
      const there = cardOf(person.id);
      if (there) draw(there, person);
    },
    gone: () => drop(item.person.id),
    merged: (outcome) => finish(outcome),
    ended: () => {
      item.draggable = true;
      if (!line.isConnected) return cardOf(item.person.id)?.querySelector(".person-name").focus();
      name();
      return line.querySelector(".person-name").focus();
    },
  });
}

const mergeChosen = () => (chosen.size > 1 ? finish(mergeThem([...chosen.values()])) : undefined);

async function finish(asking) {
  const outcome = await asking;
  if (!outcome) return;
  clear();
  for (const each of outcome.removed) drop(each.id);
  const item = cardOf(outcome.kept.id);
  if (item) draw(item, outcome.kept);
  sayMerged(outcome, reload);
  drawRecent();
  item?.querySelector(".person-name").focus();
}

// By mouse: one card on another.
function draggable(item) {
  const other = (event) => event.dataTransfer.types.includes("text/x-person") && !item.classList.contains("dragged");
  item.addEventListener("dragstart", (event) => {
    event.dataTransfer.setData("text/x-person", item.person.id);
    event.dataTransfer.effectAllowed = "move";
    item.classList.add("dragged");
  });
  item.addEventListener("dragend", () => item.classList.remove("dragged"));
  item.addEventListener("dragover", (event) => {
    if (!other(event)) return;
    event.preventDefault();
    item.classList.add("over");
  });
  item.addEventListener("dragleave", (event) => !item.contains(event.relatedTarget) && item.classList.remove("over"));
  item.addEventListener("drop", (event) => {
    item.classList.remove("over");
    const from = cardOf(event.dataTransfer.getData("text/x-person"));
    if (!from || from === item) return;
    event.preventDefault();
    finish(mergeThem([from.person, item.person]));
  });
}

function make() {
  const name = h("input", { id: "new-person-name", maxlength: 200, required: true, autocomplete: "off", autofocus: true, dir: "auto" });
  const where = h("input", { id: "new-person-collection", value: current() || "default", required: true, autocomplete: "off" });
  return open({
    title: t("people.new.title"),
    content: () => {
      const field = h("div", { class: "field" }, h("label", { for: where.id }, t("people.new.collection")), where);
      combobox(where, { suggest: collectionNames });
      return h("div", { class: "stack" }, h("p", { class: "muted" }, t("people.new.help")),
        h("div", { class: "field" }, h("label", { for: name.id }, t("people.new.name")), name), field);
    },
    actions: [
      { text: t("frame.cancel"), value: null },
      {
        text: t("people.new.yes"), kind: "primary", submit: true,
        run: async () => {
          try {
            const person = await post("/persons", { name: name.value.trim(), collection: where.value.trim() });
            location.assign(personUrl(person.id));
            return person;
          } catch (error) {
            throw told(error);
          }
        },
      },
    ],
  });
}

function drawRecent() {
  const merges = changes ? recent() : [];
  put(byId("people-recent"), merges.length ? h("details", { class: "panel recent" },
    h("summary", {}, t("people.recent", { n: merges.length })),
    h("ul", {}, merges.map((each) => h("li", {},
      h("span", {}, tx("people.recent_row", { name: named(each.from), other: named(each.into) }), " · ", t("people.until"), " ", time(each.undo_until)),
      h("button", { type: "button", onclick: (event) => takeBack(each.id, event.target) }, icon("undo"), t("frame.undo")))))) : null);
}

async function takeBack(id, button) {
  button.disabled = true;
  try {
    await undo(id);
  } catch (error) {
    sayIt(error);
  }
  reload();
}
