// A name that is changed where it stands: Enter keeps it, Escape does not. Who renamed them meanwhile is asked first.

import { patch, personUrl } from "../../lib/api.js";
import { h, named, put } from "../../lib/dom.js";
import { tell } from "../../lib/messages.js";
import { t, tx } from "../../lib/texts.js";
import { inWords } from "../../lib/words.js";
import { mergeThem } from "./merging.js";
import { read, say } from "./shared.js";

let numbered = 0;

/**
 * Puts a field in place of what `place` holds. `renamed(person)`: they have a new name, or the one that another tab
 * gave; `gone()`: they are not there any more; `merged(outcome)`: they became one with who has the name already;
 * `ended()`: draw the name again.
 */
export async function rename(place, person, { renamed, gone, merged, ended }) {
  const id = `rename-${++numbered}`;
  const input = h("input", { id, value: person.name, maxlength: 200, autocomplete: "off", dir: "auto", "aria-label": t("people.rename.label"), "aria-describedby": `${id}-note` });
  const note = h("span", { id: `${id}-note`, class: "rename-note small", role: "status" }, t("people.rename.help"));
  const form = h("form", { class: "rename" }, input, note);
  let etag = null;
  let known = person;
  let busy = false;
  put(place, form);
  input.focus();
  input.select();

  const end = () => {
    form.remove();
    ended();
  };
  const lost = () => {
    tell(tx("people.rename.gone", { name: named(known.name) }), { kind: "bad" });
    gone();
  };
  const wrong = (text) => {
    put(note, text);
    note.classList.add("error-text");
    input.setAttribute("aria-invalid", "true");
  };
  async function look() {
    const now = await read(person.id);
    etag = now.etag;
    if (now.person.name === known.name) {
      known = now.person;
      return false;
    }
    known = now.person;
    wrong(tx("people.rename.conflict", { name: named(known.name) }));
    return true;
  }
  const first = look().catch((error) => (error.status === 404 ? lost() : wrong(inWords(error))));

  async function save() {
    const name = input.value.trim();
    if (busy) return;
    if (!name) return void wrong(t("people.rename.empty"));
    if (name === known.name) {
      if (known !== person) renamed(known);
      return void end();
    }
    busy = true;
    input.readOnly = true;
    try {
      await first;
      const before = known.name;
      const now = await patch(`/persons/${person.id}`, { name }, { headers: etag ? { "If-Match": etag } : {} });
      renamed(now);
      end();
      tell(tx("people.rename.done", { name: named(now.name) }), {
        kind: "good",
        undo: async () => renamed(await patch(`/persons/${person.id}`, { name: before })),
      });
    } catch (error) {
      await refused(error, name);
    } finally {
      busy = false;
      input.readOnly = false;
    }
  }

  async function refused(error, name) {
    if (error.status === 404) return lost();
    if (error.status === 412) {
      // Enter once more overwrites what they can see now.
      const other = await look().catch(() => false);
      busy = false;
      return other ? undefined : save();
    }
    if (error.code === "person_exists" && error.details.person_id) {
      const other = error.details.person_id;
      wrong([
        t("people.rename.taken"), " ",
        h("button", { type: "button", class: "link", onclick: () => same(other) }, t("people.rename.same")), " ",
        h("a", { href: personUrl(other) }, t("people.rename.see")),
      ]);
      return undefined;
    }
    return wrong(say(error));
  }

  async function same(otherId) {
    const outcome = await mergeThem([person, { id: otherId }]);
    if (!outcome) return;
    end();
    merged(outcome);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    if (known !== person) renamed(known);
    end();
  });
}
