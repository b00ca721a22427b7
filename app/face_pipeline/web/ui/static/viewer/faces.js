// The faces of the photo: who each is, and what can be done about it.

import { del, get, patch, personUrl } from "../lib/api.js";
import { combobox, open } from "../lib/dialogs.js";
import { h, icon, named, put } from "../lib/dom.js";
import { tell } from "../lib/messages.js";
import { crop } from "../lib/pictures.js";
import { can } from "../lib/scopes.js";
import { t, tx } from "../lib/texts.js";
import { inWords, percent } from "../lib/words.js";
import { personsOrNew } from "../photos/persons.js";
import { copied } from "./copy.js";

/**
 * The list of faces of `photo`. `mark(index or null)`: make its box stand out; `changed(faceId)`: somebody is on the
 * photo, or not, who was not before; draw it anew, and open that face. Returns {element, open(index)}.
 */
export function faceList(photo, { mark, changed }) {
  const items = photo.faces.map((face, index) => faceItem(photo, face, index, mark, changed, (mine) => {
    for (const each of items) if (each !== mine) each.close();
  }));
  return { element: h("ol", { class: "faces" }, items.map((each) => each.element)), open: (index) => items[index]?.open() };
}

function faceItem(photo, face, index, mark, changed, opened) {
  const place = h("div", { class: "face-more", hidden: true });
  const name = face.person?.name;
  const button = h("button", {
    type: "button", class: "face", "data-face": index, "aria-expanded": "false",
    onmouseenter: () => mark(index), onmouseleave: () => mark(null), onfocus: () => mark(index), onblur: () => mark(null),
    onclick: () => (place.hidden ? show() : close()),
  },
  h("span", { class: "number-tag", "aria-hidden": "true" }, String(index + 1)),
  crop(face.id, { class: "crop", loading: "lazy", width: 56, height: 56 }),
  h("span", { class: "face-text" },
    h("bdi", { dir: "auto", class: name ? "person" : "person unnamed", title: name }, name ?? t("words.unnamed")),
    h("span", { class: "scores" },
      h("span", {}, t("words.detection"), " ", h("b", {}, percent(face.detection_score))),
      h("span", {}, t("words.quality"), " ", h("b", {}, percent(face.quality))))),
  icon("down"));

  function show() {
    opened(mine);
    put(place, faceMore(photo, face, changed));
    place.hidden = false;
    button.setAttribute("aria-expanded", "true");
    place.scrollIntoView({ block: "nearest" });
    mark(index);
  }
  function close() {
    if (place.hidden) return;
    place.hidden = true;
    put(place);
    button.setAttribute("aria-expanded", "false");
  }
  const mine = {
    element: h("li", {}, button, place),
    close,
    open() {
      if (place.hidden) show();
      (place.querySelector("input") ?? button).focus();
    },
  };
  return mine;
}

function faceMore(photo, face, changed) {
  const error = h("p", { class: "error-text", role: "alert" });
  const give = async (whom, words) => {
    error.textContent = "";
    try {
      const now = await patch(`/faces/${face.id}`, whom);
      tell(words(now), { kind: "good", undo: () => patch(`/faces/${face.id}`, { person_id: face.person?.id ?? null }).then(() => changed(photo.id, face.id)) });
      await changed(photo.id, face.id);
    } catch (problem) {
      error.textContent = inWords(problem);
    }
  };
  const called = (now) => tx("viewer.named", { name: named(now.person.name) });
  return [
    can("enrol") ? nameField(photo, face, (whom) => give(whom, called)) : null,
    error,
    h("div", { class: "face-acts" },
      face.person && h("a", { class: "button", href: personUrl(face.person.id) }, icon("people"), t("viewer.person")),
      h("a", { class: "button", href: `/search?face=${face.id}` }, icon("search"), t("viewer.search")),
      face.person && can("enrol") ? h("button", { type: "button", onclick: () => give({ person_id: null }, () => tx("viewer.taken_off", { name: named(face.person.name) })) }, icon("close"), t("viewer.not_them")) : null,
      can("erase") ? h("button", { type: "button", class: "dangerous", onclick: () => erase(photo, face, changed) }, icon("delete"), t("viewer.delete_face")) : null),
    h("p", { class: "help" }, t("viewer.face_id"), " ", copied(face.id)),
  ];
}

function nameField(photo, face, give) {
  const input = h("input", { id: `who-${face.id}`, type: "text", maxlength: 200, dir: "auto", placeholder: t("viewer.who_placeholder"), autocomplete: "off" });
  const box = combobox(input, {
    suggest: personsOrNew(() => photo.collection),
    onPick: (item) => give(item.value ? { person_id: item.value } : { person: item.label }),
  });
  const form = h("form", { class: "field" }, h("label", { for: input.id }, t(face.person ? "viewer.who_else" : "viewer.who")), h("div", { class: "name-row" }, box, h("button", { type: "submit", class: "primary" }, t("viewer.save"))));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (name) give({ person: name });
    else input.focus();
  });
  return form;
}

async function erase(photo, face, changed) {
  const done = await open({
    title: t("viewer.erase_face.title"),
    content: () => h("div", { class: "stack" }, h("p", {}, t("viewer.erase_face.text")), h("p", { class: "error-text" }, t("photos.erase.for_ever"))),
    actions: [
      { text: t("frame.cancel"), value: null },
      { text: t("viewer.delete_face"), kind: "danger", submit: true, run: () => del(`/faces/${face.id}`) },
    ],
  });
  if (!done) return;
  tell(t("viewer.erase_face.done"), { kind: "good" });
  await changed(photo.id, null);
}

/** The photo as it is now. */
export const fetchPhoto = (id) => get(`/photos/${encodeURIComponent(id)}`);
