// An id that can be copied.

import { h, iconButton } from "../lib/dom.js";
import { tell } from "../lib/messages.js";
import { t } from "../lib/texts.js";

/** The id, and a button where the browser lets a page copy: over HTTPS, or from this machine. */
export function copied(id) {
  const button = navigator.clipboard ? iconButton("copy", t("viewer.copy", { id }), async () => {
    await navigator.clipboard.writeText(id);
    tell(t("viewer.copied"), { kind: "good" });
  }) : null;
  return h("span", { class: "copied" }, h("code", {}, id), button);
}
