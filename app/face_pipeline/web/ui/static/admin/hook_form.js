// The dialog about one web hook: make it, change it.

import { patch, post } from "../lib/api.js";
import { open } from "../lib/dialogs.js";
import { h } from "../lib/dom.js";
import { t } from "../lib/texts.js";
import { inWords } from "../lib/words.js";
import { reachField } from "./reach.js";

export const KINDS = ["photo.done", "photo.failed", "person.seen", "face.unknown"];
const words = (kind) => t(`hooks.kinds.${kind}`);

const problem = (message) => Object.assign(new Error(message), { code: "" });

/** Asks where events go and which; resolves to the API's answer (a new hook's has its secret), or null. */
export function hookForm(hook = null) {
  const url = h("input", { id: "hook-url", type: "url", required: true, maxlength: 2000, autocomplete: "off", autocapitalize: "none", spellcheck: "false", placeholder: "https://example.org/faces", "aria-describedby": "hook-url-help", value: hook?.url ?? "" });
  const boxes = KINDS.map((kind) => h("input", { type: "checkbox", value: kind, checked: !hook || hook.kinds.includes(kind) }));
  const reach = reachField({ value: hook?.collections ?? null, legend: t("hooks.form.collections"), help: { all: t("hooks.form.all_help"), some: t("hooks.form.some_help") } });
  const content = () => h("div", { class: "fields" },
    h("div", { class: "field" }, h("label", { for: url.id }, t("hooks.form.url")), url, h("p", { id: "hook-url-help", class: "help" }, t("hooks.form.url_help"))),
    h("fieldset", {}, h("legend", {}, t("hooks.form.kinds")), boxes.map((box) =>
      h("label", { class: "choice" }, box, h("span", {}, words(box.value)), h("span", { class: "help" }, h("code", {}, box.value))))),
    reach.element);
  const send = async () => {
    const kinds = boxes.filter((box) => box.checked).map((box) => box.value);
    const collections = reach.value();
    if (!kinds.length) throw problem(t("hooks.form.kind_missing"));
    if (collections && !collections.length) throw problem(t("hooks.form.collection_missing"));
    const body = { url: url.value.trim(), kinds, collections };
    try {
      return await (hook ? patch(`/hooks/${hook.id}`, body) : post("/hooks", body));
    } catch (error) {
      if (error.code !== "hook_url") throw error;
      url.setAttribute("aria-invalid", "true");
      throw problem(`${inWords(error)} ${t("hooks.form.refused")}`);
    }
  };
  const answer = open({ title: t(hook ? "hooks.change" : "hooks.make"), id: "hook-form", content,
    actions: [{ text: t("frame.cancel") }, { text: t(hook ? "hooks.form.save" : "hooks.make"), kind: "primary", submit: true, run: send }] });
  const dialog = document.getElementById("hook-form");
  dialog.classList.add("form");
  // The server says what is wrong with an address, and what would be right.
  dialog.querySelector("form").noValidate = true;
  url.addEventListener("input", () => url.removeAttribute("aria-invalid"));
  return answer;
}
