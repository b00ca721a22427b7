// The charts of a span, each in a card with a link to the whole dashboard.

import { get } from "../lib/api.js";
import { byId, h, icon, put } from "../lib/dom.js";
import { repeat } from "../lib/repeat.js";
import { failed, skeleton } from "../lib/states.js";
import { t } from "../lib/texts.js";

const SPANS = ["15m", "6h", "7d"];
const USUAL = "6h";
// As often as there is a new point, within reason.
const EVERY = { "15m": 15, "6h": 60, "7d": 300 };

const place = byId("overview-charts");
const tabs = [...document.querySelectorAll("#overview-spans a")];
// name -> what lib/charts.js drew
const drawn = new Map();
let span = asked();
// What `place` shows: a span, or a sentence.
let shown = null;
let last = null;

function asked() {
  const wanted = new URLSearchParams(location.search).get("span");
  return SPANS.includes(wanted) ? wanted : USUAL;
}

/** Shows them, and goes on. */
export function startCharts() {
  mark();
  put(place, skeleton("card", 6));
  const going = repeat(refresh, () => EVERY[span]);
  for (const tab of tabs) tab.addEventListener("click", (event) => choose(event, tab.dataset.span, going));
}

function choose(event, wanted, going) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (wanted === span) return;
  span = wanted;
  const address = new URL(location.href);
  address.searchParams.set("span", span);
  history.replaceState(history.state, "", address);
  mark();
  place.setAttribute("aria-busy", "true");
  going.now();
}

function mark() {
  for (const tab of tabs) {
    if (tab.dataset.span === span) tab.setAttribute("aria-current", "true");
    else tab.removeAttribute("aria-current");
  }
}

async function refresh() {
  const wanted = span;
  try {
    const answer = await get("/overview/charts", { query: { span: wanted }, etag: true });
    if (wanted !== span || (answer === last && shown === wanted)) return;
    last = answer;
    await show(answer);
  } catch (error) {
    // What is drawn stays: the page says elsewhere that it is old.
    if (shown !== wanted) {
      clear();
      put(place, failed(error, refresh));
    }
  } finally {
    if (wanted === span) place.removeAttribute("aria-busy");
  }
}

async function show(answer) {
  const on = answer.observation.state === "on";
  byId("overview-spans").hidden = !on;
  if (!on) return say(answer.observation);
  const { draw } = await import("../lib/charts.js");
  const whole = answer.charts.map((chart) => chart.name).join();
  if (shown !== answer.span || whole !== [...drawn.keys()].join()) {
    clear();
    put(place, answer.charts.map((chart) => card(chart, draw)));
  } else {
    for (const chart of answer.charts) drawn.get(chart.name).update(chart);
  }
  shown = answer.span;
  return undefined;
}

function say({ state, message }) {
  if (shown === state) return;
  clear();
  put(place, h("div", { class: "banner", "data-observation": state, title: message }, icon("info"), t(`overview.observation.${state}`)));
  shown = state;
}

function clear() {
  for (const each of drawn.values()) each.destroy();
  drawn.clear();
  shown = null;
}

function card(chart, draw) {
  const title = t(`overview.charts.${chart.name}`);
  const figure = h("figure", {});
  // Once it is in the page: it asks how wide it is.
  drawn.set(chart.name, draw(figure, chart, {
    title,
    series: Object.fromEntries(chart.series.map(({ name }) => [name, t(`overview.lines.${name}`)])),
    table: t("overview.charts.table"), time: t("overview.charts.time"), none: t("overview.charts.none"), empty: t("overview.charts.empty"),
  }));
  return h("div", { class: "card chart-card", "data-chart": chart.name },
    h("div", { class: "chart-head" }, h("h3", {}, title),
      chart.dashboard_url && h("a", { href: chart.dashboard_url, rel: "noreferrer", "aria-label": t("overview.charts.dashboard_of", { name: title }) },
        t("overview.charts.dashboard"), icon("door"))),
    figure);
}
