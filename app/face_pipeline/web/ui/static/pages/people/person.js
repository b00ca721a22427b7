// One person: who they are, and what can be done with them; their faces are in faces.js.

import { patch } from "../../lib/api.js";
import { byId, h, icon, iconButton, named, put } from "../../lib/dom.js";
import { tell } from "../../lib/messages.js";
import { empty, failed } from "../../lib/states.js";
import { t } from "../../lib/texts.js";
import { moment } from "../../lib/time.js";
import { enrol } from "./enrolling.js";
import { erase, keepAll, tellExport } from "./erasing.js";
import { startFaces } from "./faces.js";
import { mergeWithSomebody, sayMerged } from "./merging.js";
import { rename } from "./renaming.js";
import { counts, may, menu, portrait, read, sayIt } from "./shared.js";

const changes = may("enrol");
let now = null; // {person, etag}
let faces = null;

export async function startPerson(id) {
  const head = byId("person-head");
  head.setAttribute("aria-busy", "true");
  try {
    now = await read(id);
    draw();
    faces = startFaces(() => now.person, { cover, changed: refresh });
  } catch (error) {
    byId("person-faces").hidden = true;
    put(byId("person-tools"));
    put(byId("person-facts"), error.status === 404 ? gone() : failed(error, () => location.reload()));
  } finally {
    head.removeAttribute("aria-busy");
  }
}

const gone = () =>
  empty({ icon: "people", title: t("people.gone"), text: t("people.gone_help"), actions: [h("a", { class: "button", href: "/people" }, t("people.to_people"))] });

async function refresh() {
  try {
    now = await read(now.person.id);
    draw();
  } catch (error) {
    sayIt(error);
  }
}

function draw() {
  const { person } = now;
  put(byId("person-cover"), portrait(person.cover_face_id, 320));
  if (!byId("person-title").querySelector("form")) drawName();
  document.title = document.title.replace(/^[^·]*/, `${person.name} `);
  put(byId("person-facts"),
    h("p", { class: "person-counts" }, counts(person)),
    h("dl", { class: "facts" },
      fact("people.facts.collection", h("bdi", {}, person.collection)),
      person.external_id && fact("people.facts.external_id", named(person.external_id)),
      person.created_at && fact("people.facts.created", moment(person.created_at))));
  drawTools();
}

const fact = (key, value) => h("div", {}, h("dt", {}, t(key)), h("dd", {}, value));

function drawName() {
  const { person } = now;
  put(byId("person-title"), h("h1", { id: "person-name", tabindex: "-1" }, named(person.name)),
    changes && iconButton("edit", t("people.rename.button"), renameHere, { id: "person-rename" }));
}

function renameHere() {
  rename(byId("person-title"), now.person, {
    renamed: refresh,
    gone: () => location.assign("/people"),
    merged: finish,
    ended: () => {
      drawName();
      byId("person-rename").focus();
    },
  });
}

function drawTools() {
  const { person } = now;
  const tools = byId("person-tools");
  if (tools.contains(document.activeElement) && tools.children.length) return;
  const files = h("input", { id: "person-files", class: "visually-hidden", type: "file", accept: "image/*,.heic,.heif,.avif", multiple: true,
    onchange: async () => {
      const chosen = [...files.files];
      files.value = "";
      if (chosen.length && (await enrol(now.person, chosen))) changed();
    } });
  const more = [
    { text: t("people.export.button"), icon: "download", run: () => keepAll(now.person) },
    may("admin") && { text: t("people.export.collection"), icon: "docs", run: () => tellExport(now.person.collection) },
    may("erase") && { text: t("people.erase.button"), icon: "delete", run: () => erase(now.person) },
  ].filter(Boolean);
  put(tools,
    changes && h("span", { class: "file-button" }, files, h("label", { class: "button primary", for: files.id }, icon("plus"), t("people.enrol.button"))),
    changes && h("button", { id: "person-merge", type: "button", onclick: () => finishAsking(mergeWithSomebody(now.person)) }, icon("merge"), t("people.merge.with")),
    menu(t("people.more", { name: person.name }), more));
}

function changed() {
  faces.reload();
  refresh();
}

async function finishAsking(asking) {
  const outcome = await asking;
  if (outcome) finish(outcome);
}

function finish(outcome) {
  // Who is shown may be the one who became part of the other.
  if (outcome.kept.id !== now.person.id) return location.assign(`/people/${outcome.kept.id}`);
  sayMerged(outcome, changed);
  return changed();
}

/** Makes the face their cover, with Undo; while nobody else changed them. */
async function cover(face) {
  const before = now.person.cover_face_id;
  const set = (id, headers = {}) => patch(`/persons/${now.person.id}`, { cover_face_id: id }, { headers });
  try {
    await set(face.id, { "If-Match": now.etag });
    tell(t("people.faces.cover_set"), { kind: "good", undo: async () => {
      await set(before);
      changed();
    } });
  } catch (error) {
    if (error.status !== 412) sayIt(error);
    else tell(t("people.faces.changed"), { kind: "bad" });
  }
  await refresh();
  faces.drawCover();
}

