// Questions: a native dialog each, so that Escape closes it and the focus stays inside and goes back.

import { get, isAbort } from "./api.js";
import { h, iconButton, named, put } from "./dom.js";
import { collections } from "./collection.js";
import { avatar } from "./pictures.js";
import { t } from "./texts.js";
import { inWords } from "./words.js";

let numbered = 0;
const PAUSE = 200;
const SUGGESTIONS = 8;

/**
 * Opens a dialog and resolves, once it is closed, to what `close(value)` was called with, or null.
 * `content(close)` gives its nodes; `actions`: [{text, value, kind: "primary" | "danger" | undefined, run}], where
 * `run()` may be async: the dialog stays open with the error if it raises, and closes with what it gives otherwise.
 * `wide`: for pictures and tables.
 */
export function open({ title, content, actions = [], wide = false, id = null }) {
  const number = ++numbered;
  return new Promise((resolve) => {
    let given = null;
    const close = (value = null) => {
      given = value;
      dialog.close();
    };
    const error = h("p", { class: "error-text", role: "alert" });
    const buttons = actions.map((action) => h("button", {
      type: action.submit ? "submit" : "button", class: action.kind ?? null,
      onclick: action.submit ? null : () => act(action),
    }, action.text));
    async function act(action) {
      if (!action.run) return close(action.value ?? null);
      for (const button of buttons) button.disabled = true;
      error.textContent = "";
      try {
        close((await action.run()) ?? true);
      } catch (problem) {
        if (!isAbort(problem)) error.textContent = inWords(problem);
      } finally {
        for (const button of buttons) button.disabled = false;
      }
    }
    const form = h("form", { class: "dialog-body", method: "dialog" }, content(close), error,
      buttons.length ? h("div", { class: "dialog-actions" }, buttons) : null);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const action = actions.find((each) => each.submit);
      if (action) act(action);
    });
    const dialog = h("dialog", { class: wide ? "dialog wide" : "dialog", id, "aria-labelledby": `dialog-${number}` },
      h("header", { class: "dialog-head" }, h("h2", { id: `dialog-${number}` }, title),
        iconButton("close", t("frame.close"), () => close())), form);
    dialog.addEventListener("click", (event) => event.target === dialog && close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(given);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Whether somebody says yes. `danger`: it cannot be undone. `text`: a text or nodes. */
export const confirm = async ({ title, text, yes, no = t("frame.cancel"), danger = false }) =>
  (await open({
    title,
    content: () => h("div", {}, [text].flat(Infinity)),
    actions: [{ text: no, value: null }, { text: yes, value: true, submit: true, kind: danger ? "danger" : "primary" }],
  })) === true;

/**
 * Asks for a text. `suggest`: see combobox; then it resolves to {text, item} where `item` is the suggestion that was
 * chosen, or null; without it to the text. null: closed. `run(answer)` may be async and raise: the dialog says why.
 */
export function ask({ title, label, value = "", text = null, yes, suggest = null, maxLength = 200, required = true, run = null }) {
  const number = ++numbered;
  const input = h("input", { id: `ask-${number}`, value, maxlength: maxLength, required, autocomplete: "off", autofocus: true, dir: "auto" });
  let item = null;
  const answer = () => {
    const told = input.value.trim();
    return suggest ? { text: told, item: item && item.label === told ? item : null } : told;
  };
  return open({
    title,
    content: () => {
      const field = h("div", { class: "field" }, h("label", { for: input.id }, label), input);
      if (suggest) combobox(input, { suggest, onPick: (picked) => (item = picked) });
      return h("div", { class: "stack" }, text && h("p", {}, text), field);
    },
    actions: [
      { text: t("frame.cancel"), value: null },
      { text: yes, kind: "primary", submit: true, run: async () => ((run && (await run(answer()))) ?? answer()) },
    ],
  });
}

/**
 * Makes `input` offer suggestions while somebody types (WAI-ARIA combobox with a list).
 * `suggest(text, signal)` resolves to [{value, label, detail, faceId}]; `onPick(item)`: one was chosen, by key or
 * click, and its label is in the input.
 */
export function combobox(input, { suggest, onPick = () => {} }) {
  const id = `list-${++numbered}`;
  const list = h("ul", { id, class: "suggestions", role: "listbox", hidden: true, "aria-label": t("frame.suggestions") });
  const box = h("div", { class: "combobox" });
  if (input.parentNode) input.replaceWith(box);
  box.append(input, list);
  for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": id, autocomplete: "off" })) input.setAttribute(name, value);
  let items = [];
  // The text that they are for; null: none.
  let known = null;
  let at = -1;
  let request = null;
  let timer = null;

  const show = (shown) => {
    list.hidden = !shown;
    input.setAttribute("aria-expanded", String(shown));
    if (!shown) mark(-1);
  };
  const mark = (index) => {
    at = index;
    [...list.children].forEach((each, other) => each.setAttribute("aria-selected", String(other === index)));
    if (index >= 0) {
      input.setAttribute("aria-activedescendant", list.children[index].id);
      list.children[index].scrollIntoView({ block: "nearest" });
    } else input.removeAttribute("aria-activedescendant");
  };
  const pick = (index) => {
    input.value = items[index].label;
    show(false);
    onPick(items[index]);
  };
  // What is offered is for the text as it is: nobody is picked from a list for what was typed before.
  const forget = () => {
    request?.abort();
    show(false);
    items = [];
    known = null;
    put(list);
  };
  async function look() {
    clearTimeout(timer);
    request?.abort();
    const mine = (request = new AbortController());
    const text = input.value.trim();
    try {
      const found = await suggest(text, mine.signal);
      if (mine.signal.aborted) return;
      mark(-1);
      items = found.slice(0, SUGGESTIONS);
      known = text;
      put(list, items.map((item, index) => h("li", {
        id: `${id}-${index}`, role: "option", "aria-selected": "false",
        onpointerdown: (event) => event.preventDefault(), onclick: () => pick(index),
      }, "faceId" in item ? avatar(item.faceId, 32) : null,
      h("span", { class: "suggestion" }, named(item.label), item.detail && h("span", { class: "muted small" }, item.detail)))));
      show(items.length > 0 && document.activeElement === input);
    } catch (error) {
      // Suggestions are a help; without them the text is typed.
      if (!mine.signal.aborted && !isAbort(error)) forget();
    }
  }
  input.addEventListener("input", () => {
    clearTimeout(timer);
    if (input.value.trim() !== known) forget();
    timer = setTimeout(look, PAUSE);
  });
  input.addEventListener("focus", look);
  input.addEventListener("blur", () => {
    clearTimeout(timer);
    request?.abort();
    show(false);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) return look();
      const step = event.key === "ArrowDown" ? 1 : -1;
      mark((at + step + items.length) % items.length);
    } else if (event.key === "Enter" && at >= 0) {
      event.preventDefault();
      pick(at);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      event.stopPropagation();
      show(false);
    }
    return undefined;
  });
  return box;
}

/** Suggests persons; `collection()`: only of this one. `value` is a person's id. */
export const persons = (collection = () => "") => async (text, signal) => {
  const answer = await get("/persons", { query: { name: text, collection: collection(), limit: SUGGESTIONS }, signal });
  return answer.persons.map((each) => ({
    value: each.id, label: each.name, detail: `${each.collection} · ${t("words.faces", { n: each.face_count })}`,
    faceId: each.representative_face?.id ?? null, person: each,
  }));
};

/** Suggests collections. */
export const collectionNames = async (text) =>
  (await collections()).filter((name) => name.includes(text.toLowerCase())).map((name) => ({ value: name, label: name }));
