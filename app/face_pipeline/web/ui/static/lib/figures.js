// Numbers that are read at a glance.

import { h } from "./dom.js";

/**
 * One number of a <dl class=figures>. `kind`: "good", "warning", "bad". `detail`: a few words below it.
 */
export const figure = (name, value, { kind = null, detail = null } = {}) =>
  h("div", { class: "figure", "data-kind": kind }, h("dt", {}, name), h("dd", {}, value, detail && h("span", { class: "figure-detail" }, detail)));
