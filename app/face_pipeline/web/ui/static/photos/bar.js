// The bar with what can be done with the photos that are chosen.

import { h, icon, iconButton, put } from "../lib/dom.js";
import { fail } from "../lib/messages.js";
import { can } from "../lib/scopes.js";
import { t } from "../lib/texts.js";
import { erase, move, name, retry } from "./acts.js";

/** In `place`, for the selection `chosen`; `after`: {erased(ids), moved({ids, collection}), retried(ids), named(ids)}. */
export function chosenBar(place, chosen, after) {
  const number = h("span", { role: "status" });
  let busy = false;
  const run = (act, then) => async () => {
    if (busy) return;
    busy = true;
    place.setAttribute("aria-busy", "true");
    try {
      const done = await act(chosen.all());
      if (done) {
        chosen.clear();
        then(done);
      }
    } catch (error) {
      fail(error);
    } finally {
      busy = false;
      place.removeAttribute("aria-busy");
    }
  };
  const button = (symbol, words, does, kind = null) => h("button", { type: "button", class: kind, onclick: does }, icon(symbol), h("span", {}, words));
  const acts = {
    name: can("enrol") ? button("people", t("photos.act.name"), run(name, after.named)) : null,
    move: can("write") ? button("move", t("photos.act.move"), run(move, after.moved)) : null,
    retry: can("write") ? button("retry", t("photos.act.retry"), run(retry, after.retried)) : null,
    erase: can("erase") ? button("delete", t("photos.act.erase"), run(erase, after.erased), "dangerous") : null,
  };
  put(place, iconButton("close", t("photos.keys.none"), () => chosen.clear()), number, h("div", { class: "photos-acts" }, Object.values(acts)));

  return {
    show() {
      const all = chosen.all();
      place.hidden = !all.length;
      document.body.toggleAttribute("data-choosing", all.length > 0);
      if (!all.length) return;
      number.textContent = t("photos.chosen", { n: all.length });
      // Only photos that failed are tried again.
      if (acts.retry) acts.retry.hidden = !all.some((each) => each.state === "failed");
      if (acts.name) acts.name.hidden = all.every((each) => each.state !== "done" || !each.face_count);
    },
    erase: acts.erase && (() => acts.erase.click()),
  };
}
