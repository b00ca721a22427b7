// What a place shows instead of its contents: loading, nothing there, an error with "Try again".

import { isAbort } from "./api.js";
import { h, icon, put } from "./dom.js";
import { t } from "./texts.js";
import { inWords } from "./words.js";

const PATIENCE = 300;

/** Nothing there. `actions`: buttons or links. */
export const empty = ({ icon: name = null, title, text = null, actions = [] }) =>
  h("div", { class: "empty" }, name && icon(name), h("p", { class: "empty-title" }, title),
    text && h("p", { class: "muted" }, text), actions.length ? h("div", { class: "actions" }, actions) : null);

/** An error, with a button that calls `again` where that may help. */
export const failed = (error, again = null) =>
  h("div", { class: "empty error", role: "alert" }, icon("warning"), h("p", {}, inWords(error)),
    again && h("button", { type: "button", onclick: again }, t("frame.try_again")));

/** Grey shapes of what will come: `kind` "card", "row", "line", "tile". */
export const skeleton = (kind = "row", number = 6) =>
  h("div", { class: `skeletons ${kind}s`, "aria-hidden": "true" }, Array.from({ length: number }, () => h("div", { class: `skeleton ${kind}` })));

/**
 * Runs `work()` for `place`: after 300 ms its skeleton, then the nodes that `work` resolves to, or the error with
 * "Try again", which runs it once more. Resolves to whether it went well.
 */
export async function during(place, work, { kind = "row", number = 6 } = {}) {
  place.setAttribute("aria-busy", "true");
  const timer = setTimeout(() => put(place, h("p", { class: "visually-hidden", role: "status" }, t("frame.loading")), skeleton(kind, number)), PATIENCE);
  try {
    const made = await work();
    clearTimeout(timer);
    if (made !== undefined) put(place, made);
    return true;
  } catch (error) {
    clearTimeout(timer);
    if (!isAbort(error)) put(place, failed(error, () => during(place, work, { kind, number })));
    return false;
  } finally {
    clearTimeout(timer);
    place.removeAttribute("aria-busy");
  }
}
