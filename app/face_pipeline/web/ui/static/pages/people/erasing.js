// A person goes: what goes with them is said before, and the receipt is shown and kept as a file. And what is kept of
// them as a file.

import { del, get } from "../../lib/api.js";
import { h, icon, named } from "../../lib/dom.js";
import { open } from "../../lib/dialogs.js";
import { tell } from "../../lib/messages.js";
import { t, tx } from "../../lib/texts.js";
import { inWords } from "../../lib/words.js";
import { download, read, sayIt, told } from "./shared.js";

const COUNTED = ["persons", "faces", "photos", "originals", "merges", "tasks", "answers"];
const PAGE = 200;

/** What a receipt counts, in a list; what stays, and why, below it. */
function lines(receipt) {
  const kept = receipt.kept.filter((each) => each.count);
  return [
    h("ul", { class: "receipt" }, COUNTED.filter((what) => receipt[what]).map((what) => h("li", { "data-what": what }, t(`people.receipt.${what}`, { n: receipt[what] })))),
    receipt.under_way ? h("p", { class: "muted small" }, t("people.receipt.under_way", { n: receipt.under_way })) : null,
    kept.length ? h("div", { class: "banner", "data-kind": "warning" }, h("b", {}, t("people.receipt.stays")),
      h("ul", {}, kept.map((each) => h("li", {}, t(`people.receipt.kept.${each.what}`, { n: each.count }), " ", inWords(each))))) : null,
  ];
}

/** Asks, erases, shows the receipt; then the page of people. */
export async function erase(person) {
  let would;
  try {
    would = await del(`/persons/${person.id}`, { query: { dry_run: true } });
  } catch (error) {
    return sayIt(error);
  }
  const receipt = await open({
    id: "erase", title: t("people.erase.title"),
    content: () => [
      h("p", {}, tx("people.erase.what", { name: named(person.name) })), lines(would),
      h("p", {}, t("people.erase.forever")),
    ],
    actions: [
      { text: t("frame.cancel"), value: null },
      { text: t("people.erase.yes"), kind: "danger", run: async () => {
        try {
          return await del(`/persons/${person.id}`);
        } catch (error) {
          throw told(error);
        }
      } },
    ],
  });
  if (!receipt) return undefined;
  await open({
    id: "receipt", title: t("people.erase.done"),
    content: () => [
      lines(receipt), h("p", { class: "muted" }, t("people.erase.receipt")),
      h("div", { class: "actions" }, h("button", { type: "button", id: "receipt-file", onclick: () => download(`receipt-${person.id}.json`, { person_id: person.id, ...receipt }) },
        icon("download"), t("people.erase.file"))),
    ],
    actions: [{ text: t("people.to_people"), value: true, kind: "primary", submit: true }],
  });
  return location.assign("/people");
}

async function all(path, things) {
  const found = [];
  let cursor = null;
  do {
    const answer = await get(path, { query: { limit: PAGE, cursor } });
    found.push(...answer[things]);
    cursor = answer.next_cursor;
  } while (cursor);
  return found;
}

/** What the API tells of a person, as a file. */
export async function keepAll({ id }) {
  const close = tell(t("people.export.reading"));
  try {
    const { person } = await read(id);
    const [faces, photos] = [await all(`/persons/${id}/faces`, "faces"), await all(`/persons/${id}/photos`, "photos")];
    download(`person-${id}.json`, { person, faces, photos });
    close();
    tell(t("people.export.done", { n: photos.length }), { kind: "good" });
  } catch (error) {
    close();
    sayIt(error);
  }
}

/** A whole collection is more than a browser should hold: what to type instead. */
export function tellExport(collection) {
  return open({
    title: t("people.export.collection"),
    content: () => [
      h("p", {}, t("people.export.how")),
      h("pre", { tabindex: "0" }, h("code", {}, `face-pipeline export ${collection} ${collection}.tar`)),
      h("p", { class: "muted" }, t("people.export.careful")),
    ],
    actions: [{ text: t("frame.close"), value: true, kind: "primary", submit: true }],
  });
}
