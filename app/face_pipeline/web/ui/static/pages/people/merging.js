// Two or more who are one: shown side by side, made one, and taken apart again.

import { get, post } from "../../lib/api.js";
import { h, named } from "../../lib/dom.js";
import { ask, open, persons } from "../../lib/dialogs.js";
import { tell } from "../../lib/messages.js";
import { avatar } from "../../lib/pictures.js";
import { t, tx } from "../../lib/texts.js";
import { counts, portrait, read, sayIt, told } from "./shared.js";

const FACES = 5;
const KEPT = "face-merges";

/**
 * Asks whether `people` ({id, name?}) are the same, and makes them one. Resolves to {kept: person, removed: [persons],
 * merges: [{id, undo_until}]}, or to null.
 */
export async function mergeThem(people) {
  const now = await Promise.all(people.map((each) => read(each.id).catch((error) => ({ error, each }))));
  const missing = now.find((each) => each.error);
  if (missing) {
    if (missing.error.status === 404 && missing.each.name) tell(tx("people.merge.gone", { name: named(missing.each.name) }), { kind: "bad" });
    else sayIt(missing.error);
    return null;
  }
  const all = now.map(({ person }, index) => ({ ...person, before: people[index].name })).sort((a, b) => b.face_count - a.face_count);
  if (new Set(all.map((each) => each.collection)).size > 1) {
    tell(t("people.merge.collections"), { kind: "bad" });
    return null;
  }
  const outcome = { kept: all[0], removed: [], merges: [] };
  let keep = all[0].id;
  await open({
    id: "merge", title: t("people.merge.title"), wide: true,
    content: () => [
      h("fieldset", { class: "same" }, h("legend", {}, t("people.merge.keep")),
        all.map((each) => option(each, each.id === keep, () => (keep = each.id)))),
      h("p", { class: "muted" }, t("people.merge.what")),
    ],
    actions: [
      { text: t("people.merge.no"), value: null },
      { text: t("people.merge.yes"), kind: "primary", submit: true, run: () => merge(all, keep, outcome) },
    ],
  });
  return outcome.merges.length ? outcome : null;
}

function option(person, checked, chosen) {
  const faces = h("span", { class: "same-faces", "aria-hidden": "true" });
  get(`/persons/${person.id}/faces`, { query: { limit: FACES } })
    .then((answer) => faces.append(...answer.faces.filter((face) => face.id !== person.cover_face_id).slice(0, FACES - 1).map((face) => avatar(face.id, 44))))
    .catch(() => {});
  return h("label", { class: "same-option" },
    portrait(person.cover_face_id, 320), faces,
    h("span", { class: "same-name" },
      h("input", { type: "radio", name: "keep", value: person.id, checked, autofocus: checked, onchange: chosen }), named(person.name, { class: "person" })),
    h("span", { class: "muted small" }, counts(person)),
    person.before && person.before !== person.name && h("span", { class: "small same-renamed" }, tx("people.merge.renamed", { name: named(person.before) })));
}

// What was done stays in `outcome`, also where a later one of them fails.
async function merge(all, keep, outcome) {
  try {
    for (const each of all.filter((other) => other.id !== keep && !outcome.removed.some((gone) => gone.id === other.id))) {
      const made = await post(`/persons/${keep}/merge`, { from: each.id });
      outcome.kept = made.person;
      outcome.removed.push(each);
      outcome.merges.push({ id: made.id, undo_until: made.undo_until });
    }
  } catch (error) {
    throw told(error);
  }
}

/** Says what was merged, with Undo; `back()` is called once it was undone. */
export function sayMerged({ kept, removed, merges }, back) {
  remember(merges.map((each, index) => ({ ...each, from: removed[index].name, into: kept.name })));
  tell(tx("people.merge.done", { n: removed.length, name: named(removed[0].name), other: named(kept.name) }), {
    kind: "good",
    undo: async () => {
      for (const each of merges.toReversed()) await undo(each.id);
      back();
    },
  });
}

/** Takes a merge back; raises with words of these pages. */
export async function undo(mergeId) {
  try {
    const answer = await post(`/merges/${mergeId}/undo`);
    forget(mergeId);
    if (answer.faces_left) tell(tx("people.merge.left", { n: answer.faces_left, name: named(answer.person.name) }));
    return answer;
  } catch (error) {
    if (["merge_undone", "merge_expired", "merge_not_found"].includes(error.code)) forget(mergeId);
    throw told(error);
  }
}

/** Asks who else `person` is, then as mergeThem. */
export async function mergeWithSomebody(person) {
  const suggest = persons(() => person.collection);
  const answer = await ask({
    title: t("people.merge.who"), label: t("people.merge.name"), yes: t("people.merge.next"),
    suggest: async (text, signal) => (await suggest(text, signal)).filter((each) => each.value !== person.id),
    run: async ({ text, item }) => {
      if (item) return { id: item.value, name: item.label };
      const { persons: found } = await get("/persons", { query: { name: text, collection: person.collection, limit: 20 } });
      const one = found.find((each) => each.name.toLowerCase() === text.toLowerCase() && each.id !== person.id);
      if (!one) throw { code: "told", message: t("people.merge.nobody") };
      return { id: one.id, name: one.name };
    },
  });
  return answer ? mergeThem([person, answer]) : null;
}

// The API takes a merge back for a day but lists none: this tab keeps those that it made.

/** [{id, undo_until, from, into}] that can still be undone, newest first. */
export function recent() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) ?? "[]").filter((each) => new Date(each.undo_until) > Date.now());
  } catch {
    return [];
  }
}

function keepThese(merges) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(merges.slice(0, 20)));
  } catch {
    // The message offers to undo it all the same.
  }
}

const remember = (merges) => keepThese([...merges.toReversed(), ...recent()]);
const forget = (id) => keepThese(recent().filter((each) => each.id !== id));
