// What became of events on their way to one web hook.

import { get } from "../lib/api.js";
import { h, iconButton } from "../lib/dom.js";
import { pagedList } from "../lib/paging.js";
import { empty } from "../lib/states.js";
import { t } from "../lib/texts.js";
import { time } from "../lib/time.js";

const KIND = { waiting: null, delivered: "good", given_up: "bad" };
const PAGE = 20;

/** What the receiver said last, or what kept it from being heard. */
export function answerOf({ last_status: status, last_answer: answer, last_error: error }) {
  if (status === null && !error) return t("hooks.no_answer");
  if (status === null) return error;
  return [t("hooks.status", { status: String(status) }), answer].filter(Boolean).join(" · ");
}

const stateOf = ({ state, attempts }) =>
  t(state === "waiting" && attempts ? "hooks.states.again" : `hooks.states.${state}`);

export const chipOf = (delivery) => h("span", { class: "chip", "data-kind": delivery.state === "waiting" && delivery.attempts ? "warning" : KIND[delivery.state] }, stateOf(delivery));

const cell = (label, ...children) => h("td", { "data-label": label }, children);

function draw(delivery) {
  const waits = delivery.state === "waiting";
  return h("tr", { "data-id": delivery.id, "data-state": delivery.state },
    h("td", { class: "name" }, t(`hooks.kinds.${delivery.kind}`)),
    cell(t("hooks.columns.state"), chipOf(delivery)),
    cell(t("hooks.columns.when"), time(delivery.created_at)),
    cell(t("hooks.columns.answer"), h("span", { class: "answer" }, answerOf(delivery)),
      h("p", { class: "help" }, t("hooks.attempts", { n: delivery.attempts }))),
    cell(t("hooks.columns.next"), waits && delivery.next_try_at ? time(delivery.next_try_at) : h("span", { class: "muted" }, "–")));
}

/** The list in `place`, loaded at once. Returns {reload(), stop()}. */
export function showDeliveries(place, hook) {
  const rows = h("tbody");
  place.replaceChildren(
    h("div", { class: "panel-head" }, h("h3", {}, t("hooks.deliveries")), iconButton("retry", t("hooks.look_again"), () => list.reload())),
    h("div", { class: "table-scroll" }, h("table", { class: "records" },
      h("thead", {}, h("tr", {}, ["kind", "state", "when", "answer", "next"].map((name) => h("th", { scope: "col" }, t(`hooks.columns.${name}`))))),
      rows)),
    h("p", { class: "help" }, t("hooks.kept")));
  const list = pagedList({
    place: rows, path: `/hooks/${hook.id}/deliveries`, items: (answer) => answer.deliveries, draw, limit: PAGE, kind: "line",
    empty: () => empty({ title: t("hooks.no_deliveries"), text: t("hooks.no_deliveries_help") }),
  });
  list.reload();
  return list;
}

/** The newest delivery of the hook, or null. */
export async function newest(hook) {
  const answer = await get(`/hooks/${hook.id}/deliveries`, { query: { limit: 1 } });
  return answer.deliveries[0] ?? null;
}
