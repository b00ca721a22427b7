// What a search found: the photo with its faces, and for the chosen face one row for each person.

import { personUrl, photoUrl } from "../../lib/api.js";
import { boxedPhoto } from "../../lib/boxes.js";
import { h, icon, named, put } from "../../lib/dom.js";
import { crop } from "../../lib/pictures.js";
import { empty, skeleton } from "../../lib/states.js";
import { t, tx } from "../../lib/texts.js";
import { duration } from "../../lib/time.js";
import { inWords, percent } from "../../lib/words.js";
import { anotherAddress, faceOf } from "./photo.js";
import { similarity } from "./words.js";

const KINDS = { sure: "good", likely: null, unsure: "warning" };
// So many collections are named one by one.
const NAMED = 3;

/** The picture of a subject ({address, name}, {face, photo} or {gone}) with boxes for `faces`; `onPick(index)`. */
export function picture(subject, faces, { onPick = () => {}, onShown = () => {} } = {}) {
  if (!subject.address) {
    const told = subject.gone ? ["search.gone", "search.gone_help"] : ["search.no_photo", "search.no_photo_help"];
    return { figure: empty({ icon: "photos", title: t(told[0]), text: t(told[1]) }), mark: () => {} };
  }
  const alt = subject.face ? t("search.face_photo") : t("search.searched_photo", { name: subject.name });
  const boxed = boxedPhoto(subject.address, alt, faces, {
    size: subject.size ?? null,
    another: subject.file ? () => anotherAddress(subject) : subject.another,
    onPick,
    onBroken: () => boxed.figure.replaceChildren(h("p", { class: "status" }, t("viewer.cannot_show"))),
  });
  const image = boxed.figure.querySelector("img");
  let marked = null;
  image.addEventListener("load", () => {
    boxed.mark(marked);
    onShown(image, subject.size ?? { width: image.naturalWidth, height: image.naturalHeight });
  });
  return { figure: boxed.figure, mark: (index) => boxed.mark((marked = index)) };
}

const frame = (subject, figure, ...beside) =>
  h("div", { class: "result" },
    h("div", { class: "result-picture" }, h("div", { class: "stage" }, figure), h("p", { class: "help" }, subject.face ? faceNote(subject) : t("search.not_kept")),
      subject.boxes?.length > 1 ? neighbours(subject) : null),
    h("div", { class: "side" }, beside));

const faceNote = ({ face }) =>
  tx(face.person ? "search.stored_face_of" : "search.stored_face", {
    collection: named(face.collection), ...(face.person ? { name: h("a", { href: personUrl(face.person.id) }, named(face.person.name)) } : {}),
  });

// The boxes are for pointers; these for everybody.
const neighbours = ({ boxes, face }) =>
  h("ul", { class: "face-tabs", "aria-label": t("search.others") }, boxes.map((each, index) => h("li", {},
    h("a", { class: "face-tab", href: `/search?face=${each.id}`, "aria-current": each.id === face.id ? "true" : null },
      crop(each.id, { class: "face-cut", width: 40, height: 40 }), h("span", { class: "number-tag" }, String(index + 1)),
      h("span", { class: "visually-hidden" }, t("search.face", { number: index + 1 }))))));

export const looking = (subject) =>
  frame(subject, picture(subject, []).figure, h("p", { class: "status loading" }, t("search.looking")), skeleton("row", 3));

/** An error, with `again` where that may help. */
export function failure(subject, error, again) {
  const help = error.code === "network" || error.temporary ? null : t("search.error_help");
  const wait = error.retryAfter ? h("p", { class: "muted" }, t("search.wait", { n: Math.ceil(error.retryAfter) })) : null;
  return frame(subject, picture(subject, []).figure,
    h("div", { class: "empty error", role: "alert" }, icon("warning"), h("p", {}, inWords(error)), wait, help && h("p", { class: "muted" }, help),
      error.temporary || error.status === 404 ? h("button", { type: "button", class: "primary", onclick: again }, icon("retry"), t("search.again")) : null));
}

/**
 * The nodes for `answer`. `chosen`: the number of the face to show; `does`: {choose(index), pick(index) where another
 * stored face is searched for, weaker(), everywhere(), anyQuality(), name(index) or null, settings, all: number of collections or null}.
 */
export function found(subject, answer, chosen, does) {
  const { faces } = answer;
  if (!faces.length) {
    return frame(subject, picture(subject, []).figure, summary(answer),
      empty({ icon: "search", title: t("search.no_face"), text: t("search.no_face_help") }));
  }
  const tabs = faces.map((face, index) => tab(face, index, faces.length));
  const panel = h("div", { class: "found-face", id: "found", role: tabs.length > 1 ? "tabpanel" : null, "aria-labelledby": tabs.length > 1 ? `face-${chosen}` : null });
  const boxes = subject.boxes ?? faces;
  const shown = picture(subject, boxes, {
    onPick: (index) => (subject.boxes ? does.pick(index) : choose(index, true)),
    onShown: (image, size) => faces.forEach((face, index) => face.bbox && tabs.length > 1 &&
      tabs[index].querySelector(".number-tag").before(faceOf(image, face.bbox, size))),
  });
  const choose = (index, focus = false) => {
    tabs.forEach((each, other) => {
      each.setAttribute("aria-selected", String(other === index));
      each.tabIndex = other === index ? 0 : -1;
    });
    shown.mark(subject.boxes ? subject.at : index);
    if (tabs.length > 1) panel.setAttribute("aria-labelledby", `face-${index}`);
    put(panel, face(faces[index], index, answer, does));
    does.choose(index);
    if (focus && tabs.length > 1) tabs[index].focus();
  };
  tabs.forEach((each, index) => {
    each.addEventListener("click", () => choose(index));
    each.addEventListener("keydown", (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: faces.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose((to + faces.length) % faces.length, true);
    });
  });
  choose(Math.min(chosen, faces.length - 1));
  return frame(subject, shown.figure, summary(answer, subject),
    tabs.length > 1 && h("div", { class: "face-tabs", role: "tablist", "aria-label": t("search.faces") }, tabs), panel);
}

function tab(face, index) {
  const [best] = face.matches;
  const name = best?.person_name;
  return h("button", { type: "button", role: "tab", id: `face-${index}`, class: "face-tab", "aria-controls": "found" },
    h("span", { class: "number-tag" }, String(index + 1)), h("span", { class: "visually-hidden" }, t("search.face", { number: index + 1 })),
    name ? named(name, { class: "cut" }) : h("span", { class: "muted" }, best ? t("words.unnamed") : t("search.nobody_short")));
}

const where = ({ collections }) =>
  collections.length <= NAMED
    ? h("span", {}, collections.flatMap((name, index) => [index ? ", " : "", named(name, { class: "where" })]))
    : h("span", { title: collections.join(", ") }, t("search.where.several", { n: collections.length }));

function summary(answer, subject = {}) {
  const values = { faces: t("words.faces", { n: answer.faces.length }), time: duration(answer.duration_seconds) };
  const told = answer.cache === "hit" ? t("search.from_cache", values) : t("search.searched", values);
  return h("div", { class: "result-summary" },
    h("p", { class: "muted", id: "search-summary", "data-cache": answer.cache }, subject.gone ? t("search.earlier", { time: subject.gone }) : told),
    h("p", { class: "muted small" }, tx("search.looked_in", { where: where(answer.searched), faces: t("words.faces", { n: answer.searched.faces }) })),
    answer.skipped?.length ? h("p", { class: "muted small" }, tx("search.skipped", { where: where({ collections: answer.skipped }) })) : null);
}

function face(found, index, answer, does) {
  const people = found.matches.filter((match) => match.person_id);
  const unnamed = found.matches.filter((match) => !match.person_id);
  // With several names at once, faces of nobody stand behind.
  const [first, ...rest] = people.length ? [null, ...unnamed] : unnamed;
  const several = answer.searched.collections.length > 1;
  const rows = [...people, ...(first ? [first] : [])].map((match) => row(match, several));
  return [
    h("div", { class: "found-head" },
      found.quality === undefined ? null : h("p", { class: "muted small" }, `${t("words.detection")} ${percent(found.detection_score)} · ${t("words.quality")} ${percent(found.quality)}`),
      does.name && h("button", { type: "button", id: "search-name", onclick: () => does.name(index) }, icon("edit"), t("search.name.button"))),
    rows.length ? h("ul", { class: "matches" }, rows) : nobody(found, answer, does),
    rest.length ? h("details", { class: "others fold" }, h("summary", {}, t("search.more_unnamed", { n: rest.length })), h("ul", { class: "matches" }, rest.map((match) => row(match, several)))) : null,
    rows.length ? meaning(answer.thresholds) : null,
  ];
}

function row(match, several) {
  const count = match.face_count > 1 ? t("search.best_of", { n: match.face_count }) : "";
  const name = match.person_name
    ? h("bdi", { dir: "auto", class: "person", title: match.person_name }, match.person_name)
    : h("bdi", { dir: "auto", class: "person unnamed" }, t("words.unnamed"));
  const about = [count, several && match.collection].filter(Boolean);
  const told = [
    h("span", { class: "match-text" }, name, about.length ? h("span", { class: "muted small" }, about.join(" · ")) : null),
    h("span", { class: "certainty" },
      h("span", { class: "chip", "data-kind": KINDS[match.certainty] }, t(`search.certainty.${match.certainty}`)),
      h("span", { class: "similarity" }, h("span", { class: "visually-hidden" }, t("search.similarity")), " ", similarity(match.similarity))),
  ];
  const cut = crop(match.face_id, { class: "crop", loading: "lazy", width: 56, height: 56 });
  return h("li", { class: "match-row", "data-certainty": match.certainty },
    // A face that came as an embedding has no photo to open.
    match.photo_id ? h("a", { class: "match", href: photoUrl(match.photo_id) }, cut, told) : h("div", { class: "match" }, h("span", { class: "crop" }), told),
    h("span", { class: "match-ways" },
      match.person_id && way(personUrl(match.person_id), "people", t("search.to_person")),
      way(`/search?face=${match.face_id}`, "search", t("search.by_this_face"))));
}

const way = (href, name, label) => h("a", { class: "button quiet icon-only", href, "aria-label": label, title: label }, icon(name));

const share = (rate) => (rate ? t("search.meaning.strangers", { n: Math.max(1, Math.round(1 / rate)) }) : null);

function meaning(thresholds) {
  const measured = share(thresholds.likely_false_match_rate);
  return h("p", { class: "help" }, t("search.meaning.text", { sure: similarity(thresholds.sure), likely: similarity(thresholds.likely) }), measured && ` ${measured}`);
}

function nobody(found, answer, does) {
  const { settings } = does;
  const [x1, y1, x2, y2] = found.bbox ?? [0, 0, Infinity, Infinity];
  const small = Math.min(x2 - x1, y2 - y1) < settings.min_face_size;
  const poor = found.quality !== undefined && found.quality < settings.min_quality;
  const nothing = answer.searched.faces === 0;
  const why = [
    small && t("search.nobody_small", { n: settings.min_face_size }),
    poor && t("search.nobody_poor", { quality: similarity(found.quality), least: similarity(settings.min_quality) }),
    nothing && t("search.nothing_there"),
  ].filter(Boolean);
  const weaker = !nothing && !small && !poor && answer.threshold > answer.thresholds.likely * 0.75;
  const elsewhere = does.all !== null && answer.searched.collections.length < does.all;
  return h("div", { class: "empty nobody" }, icon("people"),
    h("p", { class: "empty-title" }, t("search.nobody")),
    h("p", { class: "muted" }, tx("search.nobody_where", { where: where(answer.searched), faces: t("words.faces", { n: answer.searched.faces }), value: similarity(answer.threshold) })),
    why.map((each) => h("p", {}, each)),
    why.length ? null : h("p", { class: "muted" }, t("search.nobody_help")),
    h("div", { class: "actions" },
      elsewhere && h("button", { type: "button", id: "search-everywhere", onclick: does.everywhere }, t("search.look_everywhere")),
      weaker && h("button", { type: "button", id: "search-weaker", onclick: () => does.weaker(answer.thresholds.likely * 0.75) }, t("search.look_weaker")),
      poor && h("button", { type: "button", onclick: does.anyQuality }, t("search.any_quality"))));
}
