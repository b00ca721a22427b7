// What is done with one photo or many: erased, named, moved, tried again. Each asks what it has to know, does it, says
// what was done and what was not, and gives the ids of the photos it was done with; null: nothing was.

import { get, post } from "../lib/api.js";
import { ask, collectionNames, open } from "../lib/dialogs.js";
import { h, named } from "../lib/dom.js";
import { tell } from "../lib/messages.js";
import { t, tx } from "../lib/texts.js";
import { inWords } from "../lib/words.js";
import { personsOrNew } from "./persons.js";

// Of one call.
const MOST = 200;
const AT_ONCE = 4;

/** Shows a receipt, asks, and erases. */
export async function erase(photos) {
  const calls = (dry_run) => inParts(photos.map((each) => each.id), (photo_ids) => post("/photos/delete", { photo_ids, dry_run }));
  const would = together(await calls(true));
  if (!would.photos) {
    showNotDone(would.refused, photos);
    return null;
  }
  const done = await open({
    title: t("photos.erase.title", { n: would.photos }),
    content: () => h("div", { class: "stack" }, h("p", {}, t("photos.erase.goes")), receipt(would, photos), h("p", { class: "error-text" }, t("photos.erase.for_ever"))),
    actions: [
      { text: t("frame.cancel"), value: null },
      { text: t("photos.erase.yes"), kind: "danger", submit: true, run: async () => together(await calls(false)) },
    ],
  });
  if (!done) return null;
  tell(t("photos.erase.done", { n: done.photos }), { kind: "good", action: { text: t("photos.erase.receipt"), run: () => showReceipt(done, photos) } });
  return without(photos, done.refused);
}

function showReceipt(done, photos) {
  // The message that it came from closes first.
  open({ title: t("photos.erase.receipt"), content: () => receipt(done, photos), actions: [{ text: t("frame.close"), value: null }] });
}

const PARTS = ["photos", "faces", "originals", "answers", "tasks"];

function receipt(told, photos) {
  const kept = told.kept.filter((each) => each.count);
  return h("div", { class: "stack" },
    h("ul", { class: "receipt" }, PARTS.filter((name) => told[name]).map((name) => h("li", {}, t(`photos.receipt.${name}`, { n: told[name] })))),
    kept.length ? h("div", {}, h("h3", {}, t("photos.receipt.kept")),
      h("ul", { class: "receipt" }, kept.map((each) => h("li", {}, t(`photos.receipt.${each.what}`, { n: each.count }), ": ", inWords(each))))) : null,
    told.refused.length ? notDone(told.refused, photos) : null);
}

/** Gives the only face without a name of each photo to somebody. */
export async function name(photos) {
  const where = [...new Set(photos.map((each) => each.collection))];
  let did = null;
  await ask({
    title: t("photos.name.title", { n: photos.length }), text: t("photos.name.what"), label: t("photos.name.who"), yes: t("photos.name.yes"),
    suggest: personsOrNew(() => (where.length === 1 ? where[0] : "")),
    run: async ({ text, item }) => {
      did = await give(photos, item?.value ? { person_id: item.value } : { person: text });
      did.name = text;
    },
  });
  if (!did) return null;
  if (did.faces.length) {
    tell(tx("photos.name.done", { n: did.faces.length, name: named(did.name) }), {
      kind: "good", undo: async () => {
        await inParts(did.faces, (face_ids) => post("/faces/assign", { face_ids, person_id: null }));
        back();
      },
    });
  }
  if (did.refused.length) showNotDone(did.refused, photos);
  return without(photos, did.refused);
}

// A name belongs to the collection of the faces that come with it; a person is of theirs.
async function give(photos, whom) {
  const refused = [];
  const chosen = [];
  await eachOf(photos, async (photo) => {
    const found = await faceOf(photo.id);
    if (found.code) refused.push({ id: photo.id, ...found });
    else chosen.push({ face: found.id, photo });
  });
  const groups = whom.person_id ? [chosen] : Object.values(Object.groupBy(chosen, ({ photo }) => photo.collection));
  const faces = [];
  for (const group of groups.filter((each) => each.length)) {
    const photoOf = new Map(group.map(({ face, photo }) => [face, photo.id]));
    for (const answer of await inParts([...photoOf.keys()], (face_ids) => post("/faces/assign", { face_ids, ...whom }))) {
      const not = new Set(answer.refused.map((each) => each.id));
      refused.push(...answer.refused.map((each) => ({ ...each, id: photoOf.get(each.id) ?? each.id })));
      for (const id of not) photoOf.delete(id);
    }
    faces.push(...photoOf.keys());
  }
  return { faces, refused };
}

async function faceOf(id) {
  let photo;
  try {
    photo = await get(`/photos/${id}`);
  } catch (error) {
    if (error.status !== 404) throw error;
    return { code: error.code, message: error.message };
  }
  const unknown = photo.faces.filter((face) => !face.person);
  if (unknown.length === 1) return unknown[0];
  const why = photo.faces.length === 0 ? "no_face" : unknown.length === 0 ? "all_named" : "several";
  return { code: why, message: t(`photos.name.not.${why}`) };
}

// Lists that are shown may have lost them.
const back = () => document.dispatchEvent(new CustomEvent("photos-back"));

/** Gives the photos to another collection. */
export async function move(photos) {
  let did = null;
  await ask({
    title: t("photos.move.title", { n: photos.length }), label: t("photos.move.where"), yes: t("photos.move.yes"), suggest: collectionNames,
    maxLength: 64, run: async ({ text }) => (did = { to: text, ...moved(await to(photos, text)) }),
  });
  if (!did) return null;
  const gone = photos.filter((each) => !did.refused.some(({ id }) => id === each.id));
  if (did.moved) {
    const words = [t("photos.move.done", { n: did.moved, collection: did.to })];
    if (did.unnamed) words.push(" ", t("photos.move.unnamed", { n: did.unnamed }));
    const groups = Object.groupBy(gone, (each) => each.collection);
    const undo = async () => {
      for (const [collection, some] of Object.entries(groups)) await to(some, collection);
      back();
    };
    // A name that a face lost would not come back.
    tell(words, { kind: "good", undo: did.unnamed ? null : undo });
  }
  if (did.refused.length) showNotDone(did.refused, photos);
  return { ids: gone.map((each) => each.id), collection: did.to };
}

const to = (photos, collection) => inParts(photos.map((each) => each.id), (photo_ids) => post("/photos/move", { photo_ids, collection }));
const moved = (answers) => ({ moved: sum(answers, "moved"), unnamed: sum(answers, "unnamed"), refused: answers.flatMap((each) => each.refused) });

/** Tries photos that failed again. */
export async function retry(all) {
  const photos = all.filter((each) => each.state === "failed");
  if (!photos.length) return null;
  const answers = await inParts(photos.map((each) => each.id), (photo_ids) => post("/photos/retry", { photo_ids }));
  const refused = answers.flatMap((each) => each.refused ?? []);
  const retried = sum(answers, "retried");
  if (retried) tell(t("photos.retry.done", { n: retried }), { kind: "good" });
  if (refused.length) showNotDone(refused, photos);
  return without(photos, refused);
}

function showNotDone(refused, photos) {
  open({ title: t("photos.not_done.title", { n: refused.length }), content: () => notDone(refused, photos), actions: [{ text: t("frame.close"), value: null }] });
}

// Each reason once, with the photos it is the reason of.
function notDone(refused, photos) {
  const names = new Map(photos.map((each) => [each.id, each.filename]));
  const groups = Object.values(Object.groupBy(refused, (each) => `${each.code} ${each.message.replaceAll(each.id, "")}`));
  return h("div", { class: "stack not-done" }, groups.map((some) =>
    h("section", {}, h("h3", {}, inWords(some[0])),
      h("ul", { class: "receipt" }, some.map((each) => h("li", {}, named(names.get(each.id) ?? each.id)))))));
}

const sum = (answers, name) => answers.reduce((all, each) => all + each[name], 0);
const without = (photos, refused) => {
  const not = new Set(refused.map((each) => each.id));
  return photos.map((each) => each.id).filter((id) => !not.has(id));
};
const together = (answers) => ({
  ...Object.fromEntries(PARTS.map((name) => [name, sum(answers, name)])),
  kept: answers.flatMap((each) => each.kept),
  refused: answers.flatMap((each) => each.refused),
});

async function inParts(ids, call) {
  const answers = [];
  for (let at = 0; at < ids.length; at += MOST) answers.push(await call(ids.slice(at, at + MOST)));
  return answers;
}

async function eachOf(items, work) {
  const left = [...items];
  const one = async () => {
    for (let item = left.shift(); item; item = left.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}
