// Groups that somebody hid, to be shown again.

import { patch } from "../../lib/api.js";
import { current, onCollection } from "../../lib/collection.js";
import { byId, h, icon } from "../../lib/dom.js";
import { tell } from "../../lib/messages.js";
import { pagedList } from "../../lib/paging.js";
import { avatar } from "../../lib/pictures.js";
import { empty } from "../../lib/states.js";
import { t } from "../../lib/texts.js";
import { may, sayIt } from "../people/shared.js";

export function startHidden() {
  const place = byId("unknown-hidden-list");
  const list = pagedList({
    place, path: "/clusters", kind: "row",
    query: () => ({ collection: current(), hidden: "true", min_faces: 1 }),
    items: (answer) => answer.clusters, draw,
    empty: () => empty({ icon: "hide", title: t("unknown.none_hidden"), text: t("unknown.none_hidden_help") }),
  });
  onCollection(() => list.reload());
  list.reload();

  function draw(group) {
    const item = h("li", { class: "hidden-group", "data-id": group.id },
      h("span", { class: "hidden-faces", "aria-hidden": "true" }, group.faces.map((face) => avatar(face, 48))),
      h("span", { class: "hidden-text" }, h("b", {}, t("words.faces", { n: group.face_count })), h("span", { class: "muted small" }, group.collection)),
      may("enrol") && h("button", { type: "button", onclick: () => show(group, item) }, icon("show"), t("unknown.show_again")));
    return item;
  }

  async function show(group, item) {
    const set = (hidden) => patch(`/clusters/${group.id}`, { hidden });
    try {
      await set(false);
      item.remove();
      if (!list.count()) list.reload();
      tell(t("unknown.shown_again"), { kind: "good", undo: async () => {
        await set(true);
        list.reload();
      } });
    } catch (error) {
      sayIt(error);
    }
  }
}
