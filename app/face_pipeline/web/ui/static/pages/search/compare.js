// Are these two one person? Two places side by side: a photo, a stored face, and on the right a person too.

import { get, isAbort, personUrl, pictureUrl, post, uprightUrl } from "../../lib/api.js";
import { combobox, persons } from "../../lib/dialogs.js";
import { current } from "../../lib/collection.js";
import { byId, h, icon, iconButton, named, put, svg } from "../../lib/dom.js";
import { dropZone } from "../../lib/drop.js";
import { tell } from "../../lib/messages.js";
import { avatar, crop } from "../../lib/pictures.js";
import { t, tx } from "../../lib/texts.js";
import { inWords, percent } from "../../lib/words.js";
import { cutOut, faceOf, forget, pictureOf } from "./photo.js";
import { picture } from "./results.js";
import { startSources } from "./sources.js";
import { similarity } from "./words.js";

// Each: null, {file, address, name, faces, chosen, image, frame}, {face, …} or {person}.
const sides = { one: null, other: null };
let request = null;
let asked = "";

export function startCompare() {
  for (const side of Object.keys(sides)) {
    const zone = byId(`compare-${side}-zone`);
    dropZone(zone, byId(`compare-${side}-file`), ([file, ...more]) => {
      if (more.length) tell(t("search.first_of", { n: more.length + 1 }));
      takePhoto(side, file);
    });
    startSources(zone, (file) => takePhoto(side, file));
  }
  combobox(byId("compare-person"), { suggest: persons(current), onPick: ({ person }) => take("other", { person }) });
}

/** A pasted photo goes to the first place that is empty, or to the right one. */
export const comparesPasted = (file) => takePhoto(sides.one ? "other" : "one", file);

/** Fills the places with what an address names: face, other, person. */
export async function compareWith(query) {
  if (asked === query.toString()) return;
  asked = query.toString();
  const wanted = [["one", "face", "faces"], ["other", "other", "faces"], ["other", "person", "persons"]];
  for (const [side, name, path] of wanted) {
    const id = query.get(name);
    if (!id) continue;
    try {
      const found = await get(`/${path}/${encodeURIComponent(id)}`);
      take(side, path === "persons" ? { person: found } : await faceSide(found));
    } catch (error) {
      refuse(side, error);
    }
  }
}

async function faceSide(face) {
  if (!face.photo_id) return { face };
  const photo = await get(`/photos/${face.photo_id}`);
  return { face, faces: [face], chosen: 0, size: photo.width ? photo : null, address: pictureUrl(photo), another: () => uprightUrl(photo.id) };
}

async function takePhoto(side, file) {
  clear(side);
  const place = byId(`compare-${side}-shown`);
  try {
    const taken = await pictureOf(file);
    sides[side] = taken;
    show(side, h("p", { class: "status loading", role: "status" }, t("search.looking")));
    const form = new FormData();
    form.append("photo", file, taken.name);
    const { faces } = await post("/detect", form);
    if (sides[side] !== taken) return;
    Object.assign(taken, { faces, chosen: 0 });
    show(side);
    compare();
  } catch (error) {
    if (!isAbort(error)) refuse(side, error, error.temporary ? () => takePhoto(side, file) : null);
  }
  place.scrollIntoView({ block: "nearest" });
}

function take(side, what) {
  clear(side);
  sides[side] = what;
  show(side);
  compare();
}

function clear(side) {
  if (sides[side]?.file) forget(sides[side]);
  sides[side] = null;
  request?.abort();
  put(byId("compare-verdict"));
  put(byId(`compare-${side}-shown`));
  byId(`compare-${side}`).dataset.filled = "";
  if (side === "other") byId("compare-person").value = "";
}

function refuse(side, error, again = null) {
  clear(side);
  byId(`compare-${side}`).dataset.filled = "true";
  put(byId(`compare-${side}-shown`), away(side),
    h("div", { class: "empty error", role: "alert" }, icon("warning"), h("p", {}, inWords(error)),
      again && h("button", { type: "button", onclick: again }, icon("retry"), t("frame.try_again"))));
}

const away = (side) => h("div", { class: "compare-away" }, iconButton("close", t("search.compare.take_away"), () => {
  clear(side);
  byId(`compare-${side}-file`).focus();
}));

function show(side, below = null) {
  const it = sides[side];
  byId(`compare-${side}`).dataset.filled = "true";
  const place = byId(`compare-${side}-shown`);
  if (it.person) return put(place, away(side), personCard(it.person));
  if (!it.address) return put(place, away(side), h("div", { class: "compare-person" }, crop(it.face.id, { class: "crop" }), t("search.no_photo")));
  const faces = it.faces ?? [];
  const list = h("div", { class: "face-tabs", role: "radiogroup", "aria-label": t("search.compare.which") });
  const shown = picture(it, faces, {
    onPick: (index) => choose(index),
    onShown: (image, frame) => {
      Object.assign(it, { image, frame });
      if (faces.length > 1) faces.forEach((face, index) => list.children[index].querySelector(".number-tag").before(faceOf(image, face.bbox, frame)));
    },
  });
  const mark = () => {
    shown.mark(it.chosen ?? null);
    [...list.children].forEach((each, index) => {
      each.setAttribute("aria-checked", String(index === it.chosen));
      each.tabIndex = index === it.chosen ? 0 : -1;
    });
  };
  const choose = (index, focus = false) => {
    if (faces.length < 2) return;
    it.chosen = index;
    mark();
    if (focus) list.children[index].focus();
    compare();
  };
  put(list, faces.length > 1 ? faces.map((_, index) => h("button", {
    type: "button", role: "radio", class: "face-tab", onclick: () => choose(index),
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      choose((index + step + faces.length) % faces.length, true);
    },
  }, h("span", { class: "number-tag" }, String(index + 1)), h("span", { class: "visually-hidden" }, t("search.face", { number: index + 1 })))) : []);
  mark();
  const told = below ?? (it.face || faces.length ? quality(faces[it.chosen]) : h("div", { class: "empty" }, h("p", { class: "empty-title" }, t("search.no_face")), h("p", { class: "muted" }, t("search.no_face_help"))));
  return put(place, away(side), h("div", { class: "stage" }, shown.figure),
    faces.length > 1 && h("p", { class: "help" }, t("search.compare.several", { n: faces.length })), faces.length > 1 && list, told);
}

const quality = (face) => (face ? h("p", { class: "muted small" }, `${t("words.quality")} ${percent(face.quality)}`) : null);

const personCard = (person) =>
  h("a", { class: "compare-person", href: personUrl(person.id) }, avatar(person.representative_face?.id ?? null, 96),
    h("span", { class: "match-text" }, named(person.name, { class: "person" }), h("span", { class: "muted small" }, `${person.collection} · ${t("words.faces", { n: person.face_count })}`)));

/** What the API gets of a side: the file itself where its largest face is meant, else that face cut out. */
const photoOf = async (it) => (it.chosen > 0 && it.image ? cutOut(it.image, it.faces, it.chosen) : it.file);

const ready = (it) => it && (it.person || it.face || it.faces?.length);

async function compare() {
  request?.abort();
  const { one, other } = sides;
  const place = byId("compare-verdict");
  if (!ready(one) || !ready(other)) return put(place);
  const mine = (request = new AbortController());
  put(place, h("p", { class: "status loading", role: "status" }, t("search.compare.comparing")));
  try {
    const answer = await verify(one, other, mine.signal);
    if (mine.signal.aborted) return undefined;
    put(place, verdict(answer, other));
    // On a phone it lies under both photos.
    place.scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (isAbort(error) || mine.signal.aborted) return undefined;
    const text = error.code === "person_without_faces" ? t("search.compare.no_faces") : inWords(error);
    put(place, h("div", { class: "empty error", role: "alert" }, icon("warning"), h("p", {}, text),
      error.retryAfter ? h("p", { class: "muted" }, t("search.wait", { n: Math.ceil(error.retryAfter) })) : null,
      error.temporary && h("button", { type: "button", class: "primary", onclick: compare }, icon("retry"), t("frame.try_again"))));
  }
  return undefined;
}

async function verify(one, other, signal) {
  if (one.face && !other.file) {
    return post("/verify", { face_id: one.face.id, ...(other.person ? { person_id: other.person.id } : { other_face_id: other.face.id }) }, { signal });
  }
  const form = new FormData();
  // A photo on the right and a face on the left are the same question the other way round.
  const [first, second] = one.file ? [one, other] : [other, one];
  form.append("photo", await photoOf(first), "photo");
  if (second.person) form.append("person_id", second.person.id);
  else if (second.face) form.append("other_face_id", second.face.id);
  else form.append("other", await photoOf(second), "other");
  return post("/verify", form, { signal });
}

function verdict(answer, other) {
  const { same, person } = answer;
  const name = other.person && h("a", { href: personUrl(other.person.id) }, named(other.person.name));
  const title = name ? tx(same ? "search.compare.is_person" : "search.compare.not_person", { name }) : t(same ? "search.compare.same" : "search.compare.different");
  const values = { value: similarity(answer.similarity), threshold: similarity(answer.threshold) };
  return h("div", { class: "verdict", "data-same": String(same), role: "status" },
    h("span", { class: "verdict-icon" }, icon(same ? "check" : "close")),
    h("div", { class: "verdict-text" }, h("h2", {}, title),
      h("p", {}, t(same ? "search.compare.reaches" : "search.compare.below", values)),
      person && h("p", { class: "muted" }, t("search.compare.of_person", { n: person.face_count, mean: similarity(person.mean_of_best) })),
      scale(answer), h("p", { class: "help" }, t("search.compare.meaning"))));
}

// From 0 to 1; what is below shows no likeness at all.
function scale({ similarity: value, threshold }) {
  const at = (number) => `${Math.min(100, Math.max(0, number * 100))}%`;
  const anchor = threshold > 0.75 ? "end" : threshold < 0.25 ? "start" : "middle";
  return h("div", { class: "scale", "aria-hidden": "true" }, svg("svg", { class: "scale-line", width: "100%", height: 34, focusable: "false" },
    svg("rect", { class: "scale-ground", x: 0, y: 5, width: "100%", height: 6, rx: 3 }),
    svg("rect", { class: "scale-value", x: 0, y: 5, width: at(value), height: 6, rx: 3 }),
    svg("line", { class: "scale-threshold", x1: at(threshold), x2: at(threshold), y1: 0, y2: 16 }),
    svg("text", { class: "scale-words", x: at(threshold), y: 31, "text-anchor": anchor }, t("search.compare.threshold", { value: similarity(threshold) }))));
}
