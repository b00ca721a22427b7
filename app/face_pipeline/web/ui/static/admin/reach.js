// Which collections something reaches: all, or those that are named.

import { combobox, collectionNames } from "../lib/dialogs.js";
import { h, icon, put } from "../lib/dom.js";
import { t } from "../lib/texts.js";

let numbered = 0;

/**
 * A field for collections, which need not be there yet. `value`: names, or null for all; `help` {all, some}: what
 * either means. Returns {element, value(): names or null, only(whether): exactly one has to be named}.
 */
export function reachField({ value = null, legend, help }) {
  const group = `reach-${++numbered}`;
  const names = new Set(value ?? []);
  const chips = h("ul", { class: "chips", "aria-label": legend });
  const input = h("input", { id: `${group}-name`, maxlength: 64, autocapitalize: "none", spellcheck: "false", placeholder: t("reach.placeholder") });
  const radio = (name, checked) => h("input", { type: "radio", name: group, value: name, checked, onchange: show });
  const all = radio("all", value === null);
  const some = radio("some", value !== null);
  let single = false;

  const choice = (control, text, told) => h("label", { class: "choice" }, control, h("span", {}, text), h("span", { class: "help" }, told));
  const choices = [choice(all, t("reach.all"), help.all), choice(some, t("reach.some"), help.some)];
  const box = combobox(input, { suggest: collectionNames, onPick: ({ label }) => add(label) });
  const chooser = h("div", { class: "chosen" },
    h("label", { for: input.id }, t("reach.name")), chips, box, h("p", { class: "help" }, t("reach.name_help")));
  const element = h("fieldset", {}, h("legend", {}, legend), choices, chooser);

  function add(text) {
    if (single) names.clear();
    for (const name of text.split(/[\s,]+/).filter(Boolean)) names.add(name);
    input.value = "";
    draw();
  }
  function draw() {
    put(chips, [...names].map((name) => h("li", { class: "chip" }, name,
      h("button", { type: "button", class: "quiet icon-only", "aria-label": t("reach.remove", { name }), onclick: () => {
        names.delete(name);
        draw();
        input.focus();
      } }, icon("close")))));
    chips.hidden = names.size === 0;
  }
  function show() {
    chooser.hidden = !single && all.checked;
    for (const each of choices) each.hidden = single;
  }
  input.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || !input.value.trim() || (event.key !== "Enter" && event.key !== ",")) return;
    event.preventDefault();
    add(input.value);
  });
  draw();
  show();
  return {
    element,
    value() {
      if (!single && all.checked) return null;
      if (input.value.trim()) add(input.value);
      return [...names];
    },
    only(whether) {
      single = whether;
      show();
    },
  };
}
