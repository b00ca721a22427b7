// One group: its faces, whom it may be, and what to do about it.

import { photoUrl } from "../../lib/api.js";
import { h, icon, iconButton, named, put } from "../../lib/dom.js";
import { combobox, persons } from "../../lib/dialogs.js";
import { t, tx } from "../../lib/texts.js";
import { certainty, counts, may, portrait, sayIt } from "../people/shared.js";
import { moreFaces } from "./groups.js";

const changes = may("enrol");
let numbered = 0;

/**
 * Draws `known` {group, guesses: Promise} into `place`. `acts`: give(who, left), skip(), hide(), back() or null.
 * Returns {yes(), no(), guessed(), focus()}.
 */
export function drawGroup(place, { group, guesses }, acts) {
  const left = new Set();
  let guess = null;
  const question = h("section", { class: "panel question" });
  const note = h("p", { class: "muted left-note", role: "status" });
  const grid = h("ul", { class: "pick-grid", "aria-label": t("unknown.faces") });
  const more = h("button", { type: "button", onclick: load, hidden: !group.next_cursor }, t("frame.load_more"));
  const title = h("h2", { class: "group-title", tabindex: "-1" }, t("unknown.group", { n: group.face_count }));

  put(place,
    h("div", { class: "panel-head" }, title, h("span", { class: "muted small" }, group.collection)),
    question, note, grid, h("p", { class: "more" }, more));

  function face(each) {
    const box = h("input", { type: "checkbox", checked: true, onchange: () => {
      if (box.checked) left.delete(each.id);
      else left.add(each.id);
      say();
    } });
    const link = h("a", { class: "pick-open", href: photoUrl(each.photo_id), "aria-label": t("people.faces.open"), title: t("people.faces.open") }, icon("photos"));
    if (!changes) return h("li", { class: "pick" }, portrait(each.id, 320), link);
    return h("li", { class: "pick" },
      h("label", {}, portrait(each.id, 320), box, h("span", { class: "visually-hidden" }, t("unknown.pick"))), link);
  }

  async function load() {
    more.disabled = true;
    try {
      grid.append(...(await moreFaces(group)).map(face));
    } catch (error) {
      sayIt(error);
    }
    more.disabled = false;
    more.hidden = !group.next_cursor;
    say();
  }

  function say() {
    const all = group.face_count - left.size;
    if (!changes) put(note);
    else put(note, left.size ? tx("unknown.left", { n: left.size, all }) : t("unknown.pick_help"));
    for (const button of question.querySelectorAll("[data-gives]")) button.disabled = all < 1;
  }

  const give = (who) => acts.give(who, left);
  const yes = () => guess && give({ person_id: guess.person.id });
  const key = (letter) => h("kbd", { "aria-hidden": "true" }, letter);
  const further = () => [
    h("button", { type: "button", onclick: acts.skip, "aria-keyshortcuts": "s" }, t("unknown.skip"), key("s")),
    changes && h("button", { type: "button", onclick: acts.hide, "aria-keyshortcuts": "h" }, icon("hide"), t("unknown.hide"), key("h")),
    acts.back && iconButton("left", t("unknown.back"), acts.back, { class: "quiet icon-only back" }),
  ];

  /** `found`: null while the guess is on its way. */
  function ask(found) {
    const typed = question.querySelector("form input")?.value;
    // A name that somebody began to type stays.
    guess = typed ? null : (found?.[0] ?? null);
    if (!changes) put(question, guess && pair(guess), h("div", { class: "answers" }, further()));
    else if (guess) {
      put(question, pair(guess), h("div", { class: "answers" },
        h("button", { type: "button", class: "primary", "data-gives": true, onclick: yes, "aria-keyshortcuts": "y" }, icon("check"), t("unknown.yes"), key("y")),
        h("button", { type: "button", onclick: () => who(found.slice(1)), "aria-keyshortcuts": "n" }, t("unknown.no"), key("n")),
        further()));
    } else if (found === null) who([], true);
    else question.querySelector(".help").textContent = t("unknown.who_help");
    say();
  }

  /** Who it is, typed: `others` are the next best guesses. */
  function who(others = [], looking = false) {
    const id = `who-${++numbered}`;
    const input = h("input", { id, maxlength: 200, required: true, autocomplete: "off", dir: "auto" });
    let item = null;
    const form = h("form", { class: "who" }, h("label", { for: id }, t(guess ? "unknown.who_then" : "unknown.who")), input,
      h("button", { type: "submit", class: "primary", "data-gives": true }, t("unknown.name")));
    combobox(input, { suggest: persons(() => group.collection), onPick: (picked) => (item = picked) });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (name) give(item?.label === name ? { person_id: item.value } : { name });
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented) return;
      title.focus();
    });
    put(question, form,
      h("p", { class: "help" }, t(looking ? "unknown.looking" : "unknown.who_help")),
      others.length ? h("div", { class: "others" }, h("span", { class: "muted small" }, t("unknown.or")), others.map((each) =>
        h("button", { type: "button", "data-gives": true, onclick: () => give({ person_id: each.person.id }) }, named(each.person.name)))) : null,
      h("div", { class: "answers" }, further()));
    say();
    if (!looking) input.focus();
  }

  function pair({ person, similarity, thresholds }) {
    return h("div", { class: "pair" },
      portrait(group.faces[0]?.id, 320), portrait(person.cover_face_id, 320),
      h("div", { class: "pair-text" },
        h("h3", { class: "pair-question" }, tx("unknown.is", { name: named(person.name) })),
        h("p", {}, certainty(similarity, thresholds), " ", h("span", { class: "muted small" }, counts(person))),
        h("p", { class: "help" }, t("unknown.number"))));
  }

  grid.append(...group.faces.map(face));
  say();
  ask(null);
  guesses.then((found) => question.isConnected && ask(found));

  return {
    yes, guessed: () => guess !== null && question.querySelector(".pair") !== null,
    no: () => {
      const input = question.querySelector("form input");
      if (input) input.focus();
      else who();
    },
    focus: () => title.focus({ preventScroll: true }),
  };
}
