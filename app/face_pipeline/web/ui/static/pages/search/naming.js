// Giving the searched face a name. A stored face gets it; a photo is put into the collection with it.

import { get, patch, photoUrl, post } from "../../lib/api.js";
import { combobox, open, persons } from "../../lib/dialogs.js";
import { h, named } from "../../lib/dom.js";
import { tell } from "../../lib/messages.js";
import { t, tx } from "../../lib/texts.js";
import { watch } from "../../lib/watch.js";
import { FINISHED } from "../../lib/words.js";

const scopes = new Set(document.body.dataset.scopes.split(" "));
const may = (scope) => scopes.has("admin") || scopes.has(scope);

/** Whether the key may name a face of `subject`, which shows `faces` of them. */
export function mayName(subject, faces) {
  if (subject.face) return may("enrol");
  // One face gets its name with the upload; one of several is named once the photo is there.
  return Boolean(subject.file) && may("write") && (faces === 1 || may("enrol"));
}

/** Asks for a name for the face `index`. `changed(subject)` is called when a stored face has another one than before. */
export async function nameFace(subject, answer, index, changed) {
  const stored = subject.face;
  const first = answer.faces[index].matches[0];
  const names = stored ? [stored.collection] : answer.searched.collections;
  const suggestion = first?.person_id && first.certainty !== "unsure" ? first : null;
  const collection = h("select", { id: "name-collection" },
    names.map((name) => h("option", { value: name, selected: name === (suggestion?.collection ?? names[0]) }, name)));
  const input = h("input", { id: "name-person", maxlength: 200, required: true, autocomplete: "off", dir: "auto", autofocus: true, value: suggestion?.person_name ?? "" });
  await open({
    title: t("search.name.title"), id: "name-dialog",
    content: () => {
      const field = h("div", { class: "field" }, h("label", { for: input.id }, t("search.name.label")), input);
      combobox(input, { suggest: persons(() => collection.value) });
      return h("div", { class: "stack" },
        h("p", {}, stored ? t("search.name.stored") : t("search.name.photo")), field,
        stored ? null : h("div", { class: "field" }, h("label", { for: collection.id }, t("frame.collection.label")), collection));
    },
    actions: [{ text: t("frame.cancel"), value: null }, {
      text: t(stored ? "search.name.yes" : "search.name.keep"), kind: "primary", submit: true,
      run: () => {
        const name = input.value.trim();
        if (!name) throw Object.assign(new Error(), { code: "", message: t("search.name.missing") });
        return stored ? nameStored(subject, name, changed) : keep(subject, answer, index, name, collection.value);
      },
    }],
  });
}

async function nameStored(subject, name, changed) {
  const { face } = subject;
  const before = face.person?.id ?? null;
  const give = async (whose) => {
    face.person = (await patch(`/faces/${face.id}`, whose)).person;
    changed(subject);
  };
  await give({ person: name });
  tell(tx("search.name.done", { name: named(face.person.name) }), { kind: "good", undo: () => give({ person_id: before }) });
}

async function keep(subject, answer, index, name, collection) {
  const one = answer.faces.length === 1;
  const form = new FormData();
  form.append("photos", subject.file, subject.name);
  form.append("collection", collection);
  if (one) form.append("person", name);
  const { photos: [photo], rejected: [refused] } = await post("/photos", form);
  if (refused) throw refused;
  if (one && photo.remark) throw photo.remark;
  let person = name;
  if (!one) {
    await finished(photo);
    const { faces } = await get(`/photos/${photo.id}`);
    const face = nearest(faces, answer.faces[index].bbox);
    if (!face) throw Object.assign(new Error(), { code: "", message: t("search.name.lost") });
    person = (await patch(`/faces/${face.id}`, { person: name })).person.name;
  }
  tell(tx("search.name.kept", { name: named(person), photo: h("a", { href: photoUrl(photo.id) }, t("search.name.the_photo")) }), { kind: "good" });
}

const finished = (photo) => new Promise((resolve) => {
  if (FINISHED.has(photo.state)) resolve();
  else watch(photo, (news) => FINISHED.has(news.state) && resolve());
});

/** The face whose box covers most of `box`; null where none covers half. */
function nearest(faces, box) {
  const area = ([x1, y1, x2, y2]) => Math.max(0, x2 - x1) * Math.max(0, y2 - y1);
  const both = (one, other) => [Math.max(one[0], other[0]), Math.max(one[1], other[1]), Math.min(one[2], other[2]), Math.min(one[3], other[3])];
  const share = ({ bbox }) => {
    const common = area(both(bbox, box));
    return common / (area(bbox) + area(box) - common);
  };
  const best = [...faces].sort((a, b) => share(b) - share(a))[0];
  return best && share(best) > 0.5 ? best : null;
}
