// More photos of a person: each is looked at while one waits, and says what became of it.

import { post } from "../../lib/api.js";
import { h, icon, named, put } from "../../lib/dom.js";
import { open } from "../../lib/dialogs.js";
import { t, tx } from "../../lib/texts.js";
import { bytes, inWords, percent } from "../../lib/words.js";

// What may be asked for in spite of a refusal.
const IN_SPITE = { faces_many: { which: "largest" }, conflict: { on_conflict: "allow" } };

/** Shows how the files are enrolled, one by one; resolves, once it is closed, to whether one was. */
export async function enrol(person, files) {
  const stop = new AbortController();
  let any = false;
  const rows = files.map((file) => ({ file, options: {}, state: h("span", { class: "enrol-state muted small", role: "status" }, t("people.enrol.waits")) }));
  const row = ({ file, state }) => h("li", { class: "enrol-row" }, named(file.name, { class: "cut" }), h("span", { class: "muted small" }, bytes(file.size)), state);
  const closed = open({
    id: "enrol", title: t("people.enrol.title"), wide: true,
    content: () => h("div", { class: "stack" }, h("p", { class: "muted" }, tx("people.enrol.help", { name: named(person.name) })), h("ul", { class: "enrol-list" }, rows.map(row))),
    actions: [{ text: t("people.enrol.done"), value: true, kind: "primary" }],
  });
  const send = async (each) => {
    put(each.state, h("span", { class: "enrol-busy" }, t("people.enrol.looks")));
    any = (await one(person, each, stop.signal, () => send(each))) || any;
  };
  (async () => {
    for (const each of rows) if (!stop.signal.aborted) await send(each);
  })();
  await closed;
  stop.abort(new DOMException("closed", "AbortError"));
  return any;
}

async function one(person, each, signal, again) {
  const form = new FormData();
  form.append("photos", each.file, each.file.name);
  for (const [name, value] of Object.entries(each.options)) form.append(name, value);
  try {
    const { enrolled } = await post(`/persons/${person.id}/photos`, form, { signal });
    const { quality, duplicate } = enrolled[0];
    each.state.closest("li").dataset.kind = "good";
    put(each.state, icon("good"), t(duplicate ? "people.enrol.there" : "people.enrol.added", { quality: percent(quality) }));
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    const refused = error.details?.refused?.[0] ?? error;
    each.state.closest("li").dataset.kind = "bad";
    const more = IN_SPITE[refused.code] ?? (error.temporary ? {} : null);
    put(each.state, h("span", { class: "enrol-reason" }, inWords(refused)),
      refused.code === "conflict" && refused.details.person_id && h("a", { href: `/people/${refused.details.person_id}`, target: "_blank" }, t("people.enrol.see")),
      more && h("button", { type: "button", onclick: () => {
        each.options = { ...each.options, ...more };
        delete each.state.closest("li").dataset.kind;
        again();
      } }, t(refused.code in IN_SPITE ? `people.enrol.${refused.code}` : "frame.try_again")));
    return false;
  }
}
