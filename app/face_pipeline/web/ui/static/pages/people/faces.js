// The faces of a person, what is least like the others first: what is not theirs is taken off, one or several.

import { photoUrl, post } from "../../lib/api.js";
import { byId, h, icon, named } from "../../lib/dom.js";
import { shortcut } from "../../lib/keys.js";
import { tell } from "../../lib/messages.js";
import { pagedList } from "../../lib/paging.js";
import { empty } from "../../lib/states.js";
import { t, tx } from "../../lib/texts.js";
import { assign, certainty, may, menu, portrait, sayIt, selectionBar } from "./shared.js";

const PAGE = 60;
const changes = may("enrol");

/** `person()`: who is shown; `cover(face)`: makes one their cover; `changed()`: they have other faces now. */
export function startFaces(person, { cover, changed }) {
  const chosen = new Map();
  let thresholds = null;
  const sort = byId("faces-sort");
  const place = byId("faces-list");
  const least = () => sort.value === "least_sure";

  const list = pagedList({
    place, path: `/persons/${person().id}/faces`, kind: "card", limit: PAGE,
    query: () => ({ sort: sort.value }),
    items: (answer) => answer.faces, draw: card, loaded,
    empty: () => empty({ icon: "people", title: t("people.faces.none"), text: t(changes ? "people.faces.none_help" : "people.faces.none_read") }),
  });

  // What the numbers mean is told by searches, with the thresholds of the installed pack.
  async function loaded(answer) {
    byId("faces-help").hidden = !least() || !place.children.length;
    if (thresholds || !least() || !answer.faces.length) return;
    try {
      ({ thresholds } = await post("/search", { face_id: answer.faces[0].id, limit: 1 }));
    } catch {
      // The numbers stand alone.
      return;
    }
    for (const item of place.children) item.querySelector(".chip")?.replaceWith(certainty(item.face.certainty, thresholds));
  }

  function card(face) {
    const box = h("input", { type: "checkbox", onchange: () => choose(item, box.checked) });
    const item = h("li", { class: "face-card", "data-id": face.id },
      h("a", { class: "face-picture", href: photoUrl(face.photo_id), "aria-label": t("people.faces.open") }, portrait(face.id, 320)),
      changes && h("label", { class: "choose" }, box, h("span", { class: "visually-hidden" }, t("people.faces.choose"))),
      h("span", { class: "face-marks" }, least() ? certainty(face.certainty, thresholds) : null,
        h("span", { class: "chip cover-mark", "data-kind": "good", hidden: true }, icon("star"), t("people.faces.cover"))),
      h("div", { class: "face-line" },
        changes && h("button", { type: "button", onclick: () => takeOff([item]) }, t("people.faces.not")),
        menu(t("people.faces.more"), [
          changes && { text: t("people.faces.make_cover"), icon: "star", run: () => cover(face) },
          { text: t("people.faces.search"), icon: "search", href: `/search?face=${face.id}` },
        ].filter(Boolean))));
    item.face = face;
    mark(item);
    return item;
  }

  const mark = (item) => (item.querySelector(".cover-mark").hidden = item.face.id !== person().cover_face_id);

  function choose(item, on) {
    if (on) chosen.set(item.face.id, item);
    else chosen.delete(item.face.id);
    item.classList.toggle("chosen", on);
    bar(chosen.size);
  }

  function clear() {
    for (const item of chosen.values()) {
      item.classList.remove("chosen");
      item.querySelector(".choose input").checked = false;
    }
    chosen.clear();
    bar(0);
  }

  async function takeOff(items) {
    const ids = items.map((item) => item.face.id);
    const next = items.at(-1).nextElementSibling;
    try {
      const { given } = await assign(post, ids, { person_id: null });
      for (const item of items) item.remove();
      clear();
      if (!list.count()) list.reload();
      const { id, name } = person();
      tell(tx("people.faces.taken_off", { n: given, name: named(name) }), { kind: "good", undo: async () => {
        await assign(post, ids, { person_id: id });
        reload();
        changed();
      } });
      (next ?? place.lastElementChild)?.querySelector(".face-line button")?.focus();
      changed();
    } catch (error) {
      sayIt(error);
    }
  }

  function reload() {
    clear();
    return list.reload();
  }

  const bar = changes ? selectionBar(byId("person-faces"), {
    text: (n) => t("people.faces.selected", { n }),
    actions: h("button", { id: "faces-off", type: "button", class: "primary", onclick: () => takeOff([...chosen.values()]) }, t("people.faces.not")),
    clear,
  }) : () => {};
  if (changes) {
    shortcut("x", t("people.keys.not"), () => takeOff([...chosen.values()]), { when: () => chosen.size > 0 });
    shortcut("Escape", t("people.keys.clear"), clear, { when: () => chosen.size > 0 });
  }
  sort.addEventListener("change", reload);
  reload();
  return { reload, drawCover: () => [...place.children].forEach(mark) };
}
