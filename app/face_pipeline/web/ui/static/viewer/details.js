// What else is known of the photo: how it is, what it is, and what happened to it.

import { get, personUrl } from "../lib/api.js";
import { h, icon, named, put } from "../lib/dom.js";
import { during } from "../lib/states.js";
import { t, tx } from "../lib/texts.js";
import { duration, moment } from "../lib/time.js";
import { bytes, FINISHED, inWords, state } from "../lib/words.js";
import { copied } from "./copy.js";

/** Waiting, failed and why, or how many faces; `retry`: a function where it may be tried again. */
export function howItIs(photo, retry) {
  const reason = photo.reason ? h("p", { class: "reason" }, inWords(photo.reason)) : null;
  if (!FINISHED.has(photo.state)) return h("div", {}, h("h3", {}, state(photo.state)), h("p", { class: "muted" }, t("viewer.waits")), reason);
  if (photo.state === "failed") {
    return h("div", { class: "banner", "data-kind": "bad" },
      h("div", {}, h("h3", {}, state("failed")), h("p", {}, inWords(photo.reason ?? {})), h("p", { class: "small" }, t("viewer.attempts", { n: photo.attempts }))),
      retry && h("button", { type: "button", id: "viewer-retry", onclick: retry }, icon("retry"), t("photos.act.retry")));
  }
  const hint = photo.faces.length ? null : h("p", { class: "muted" }, t("viewer.missed"));
  return h("div", {}, h("h3", {}, photo.faces.length ? t("words.faces", { n: photo.faces.length }) : t("viewer.no_face")), hint, reason);
}

/** What the photo is, with its ids. */
export function facts(photo) {
  const rows = [
    ["collection", named(photo.collection)],
    ["received_at", moment(photo.received_at)],
    ["state", state(photo.state)],
    ["size", photo.width ? `${photo.width} × ${photo.height}` : null],
    ["file", [bytes(photo.byte_size), photo.media_type.replace("image/", "").toUpperCase()].join(" · ")],
    ["given", photo.person && h("a", { href: personUrl(photo.person.id) }, named(photo.person.name))],
    ["tries", photo.attempts || null],
    ["id", copied(photo.id)],
    ["batch", copied(photo.batch_id)],
    ["sha", copied(photo.sha256)],
  ];
  return section("details", t("viewer.details"), h("dl", { class: "facts" }, rows.filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => h("div", {}, h("dt", {}, t(`viewer.fact.${name}`)), h("dd", {}, value)))));
}

/** What happened to it, asked for when somebody looks. */
export function trail(photo) {
  const place = h("div", { class: "trail-place" });
  const made = section("trail", t("viewer.trail"), place);
  made.addEventListener("toggle", () => made.open && !place.children.length && during(place, () => steps(photo), { kind: "line", number: 4 }));
  return made;
}

const section = (name, title, content) => h("details", { class: "more-of-it", id: `viewer-${name}` }, h("summary", {}, h("h3", {}, title), icon("down")), content);

async function steps(photo) {
  const told = await get(`/photos/${photo.id}/trail`);
  const names = new Map(photo.faces.filter((face) => face.person).map((face) => [face.person.id, face.person.name]));
  const unknown = [...new Set(told.steps.map((step) => step.person_id))].filter((id) => id && !names.has(id)).slice(-10);
  // Who is not there any more has no name.
  await Promise.all(unknown.map((id) => get(`/persons/${id}`).then((person) => names.set(id, person.name), () => {})));
  const times = [
    told.waited_seconds !== null && t("viewer.waited", { time: duration(told.waited_seconds) }),
    told.processing_seconds !== null && t("viewer.took", { time: duration(told.processing_seconds) }),
  ].filter(Boolean);
  return [
    h("ol", { class: "trail" }, told.steps.map((step) => h("li", { "data-what": step.what },
      h("p", {}, tx(`viewer.step.${step.what}`, valuesOf(step, told, names))),
      h("p", { class: "muted small" }, h("time", { datetime: step.at }, moment(step.at)), step.worker && [" · ", h("bdi", {}, step.worker)]),
      step.what === "failed" && told.reason ? h("p", { class: "small" }, inWords(told.reason)) : null))),
    times.length ? h("p", { class: "help" }, times.join(" · ")) : null,
  ];
}

const valuesOf = (step, told, names) => ({
  n: told.face_count,
  collection: named(step.collection ?? ""),
  name: names.has(step.person_id) ? named(names.get(step.person_id)) : t("viewer.somebody"),
});

/** Nothing of the photo can be shown. */
export const cannot = () => put(h("p", { class: "status" }), t("viewer.cannot_show"));
