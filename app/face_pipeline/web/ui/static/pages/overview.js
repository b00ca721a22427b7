// Is all well, and if not, what needs somebody? The page asks again and again, and shows what changed.

import { get } from "../lib/api.js";
import { byId, h, icon, put } from "../lib/dom.js";
import { figure } from "../lib/figures.js";
import { kindOf, show as showHealth, stateOf } from "../lib/health.js";
import { repeat } from "../lib/repeat.js";
import { failed, skeleton } from "../lib/states.js";
import { has, number, t } from "../lib/texts.js";
import { duration } from "../lib/time.js";
import { inWords } from "../lib/words.js";
import { row, withOwn } from "../overview/alerts.js";
import { startCharts } from "../overview/charts.js";

const EVERY = 5;
const LONG_WAIT_SECONDS = 600;
const STEPS = { put_photos: null, name_somebody: "/unknown", search: "/search" };

const places = {
  needs: byId("overview-needs"), numbers: byId("overview-numbers"), totals: byId("overview-totals"), stale: byId("overview-stale"),
  steps: byId("overview-steps"), stepList: byId("overview-step-list"), section: byId("alerts"), alerts: byId("overview-alerts"),
};
let last = null;
// What each place shows, so that nothing is drawn, or spoken, twice.
const shown = new Map();

function changed(place, ...values) {
  const now = JSON.stringify(values);
  if (shown.get(place) === now) return false;
  shown.set(place, now);
  return true;
}

async function refresh() {
  try {
    last = await get("/overview", { etag: true });
    places.stale.hidden = true;
    draw();
  } catch (error) {
    showHealth(error.status === 0 ? "away" : "bad");
    if (last === null) {
      places.numbers.hidden = true;
      put(places.needs, failed(error, going.now));
    } else {
      places.stale.textContent = t("overview.stale", { reason: inWords(error) });
      places.stale.hidden = false;
    }
  }
}

function draw() {
  places.numbers.hidden = false;
  const overview = withOwn(last);
  const kinds = overview.needs.map((need) => kindOf(need, overview));
  showHealth(stateOf(overview));
  const seconds = overview.numbers.oldest_waiting_seconds;
  if (changed("needs", overview.needs, kinds)) drawNeeds(overview.needs, kinds, seconds);
  if (changed("steps", overview.first_steps)) drawSteps(overview.first_steps);
  if (changed("numbers", overview.numbers, overview.workers)) drawNumbers(overview);
  if (changed("alerts", overview.alerts)) drawAlerts(overview.alerts);
}

function drawNeeds(needs, kinds, seconds) {
  const known = (group, code) => has(`overview.${group}.${code}`);
  put(places.needs, needs.length === 0
    ? h("p", { class: "need", "data-kind": "good" }, icon("good"), h("span", {}, t("overview.well"), " ", h("span", { class: "visually-hidden" }, t("overview.well_help"))))
    : needs.map((need, place) => h("div", { class: "need", "data-kind": kinds[place], "data-need": need.code },
      icon("warning"),
      h("span", {}, known("needs", need.code) ? t(`overview.needs.${need.code}`, { n: need.count, time: duration(seconds) }) : need.text),
      h("a", { href: need.link }, known("go", need.code) ? t(`overview.go.${need.code}`) : t("overview.go.somewhere"), icon("right")))));
}

function drawNumbers({ numbers, workers }) {
  const none = t("overview.numbers.none");
  const { running, wanted } = workers;
  const few = running === 0 ? "bad" : running !== null && wanted !== null && running < wanted ? "warning" : null;
  const told = running === null ? none : wanted === null ? number(running) : t("overview.numbers.of", { running, wanted });
  const oldest = numbers.oldest_waiting_seconds;
  put(places.numbers, [
    figure(t("overview.numbers.waiting"), number(numbers.waiting)),
    figure(t("overview.numbers.processing"), number(numbers.processing)),
    figure(t("overview.numbers.done"), number(numbers.done_today)),
    figure(t("overview.numbers.failed"), number(numbers.failed_today), { kind: numbers.failed_today ? "bad" : null }),
    figure(t("overview.numbers.oldest"), numbers.waiting ? duration(Math.max(1, oldest)) : none, { kind: oldest > LONG_WAIT_SECONDS ? "warning" : null }),
    figure(t("overview.numbers.workers"), told, { kind: few }),
  ]);
  places.totals.textContent = [
    t("overview.totals.photos", { n: numbers.photos }), t("words.faces", { n: numbers.faces }),
    t("overview.totals.persons", { n: numbers.persons }), t("overview.totals.collections", { n: numbers.collections }),
  ].join(" · ");
}

function drawSteps(steps) {
  places.steps.hidden = steps.every((step) => step.done);
  put(places.stepList, steps.map((step, place) => h("li", { class: "step", "data-step": step.code, "data-done": step.done },
    h("span", { class: "step-mark" }, step.done ? icon("check") : number(place + 1)),
    step.done
      ? h("b", {}, t(`overview.steps.${step.code}`), h("span", { class: "visually-hidden" }, ` (${t("overview.steps.done")})`))
      : way(step.code),
    h("p", { class: "muted small" }, t(`overview.steps.${step.code}_help`)))));
}

function way(code) {
  const text = t(`overview.steps.${code}`);
  if (STEPS[code]) return h("a", { href: STEPS[code] }, text);
  const drawer = byId("open-uploads");
  return drawer ? h("button", { type: "button", class: "link", onclick: () => drawer.click() }, text) : h("b", {}, text);
}

function drawAlerts(alerts) {
  const focused = document.activeElement?.closest("[data-alert]")?.dataset.alert;
  const hash = places.section.hidden && location.hash === "#alerts";
  places.section.hidden = alerts.length === 0;
  put(places.alerts, alerts.map((alert) => row(alert, act)));
  if (focused !== undefined) focus(focused);
  if (hash && alerts.length) places.section.scrollIntoView();
}

function focus(name) {
  const again = [...places.alerts.children].find((each) => each.dataset.alert === name)?.querySelector("[data-act]");
  (again ?? places.section).focus();
}

/** After somebody did something: at once what is known here, then what the service says. */
function act() {
  draw();
  going.now();
}

let going = null;
if (places.needs) {
  put(places.numbers, Array.from({ length: 6 }, () => h("div", { class: "skeleton", "aria-hidden": "true" })));
  put(places.needs, skeleton("row", 1));
  going = repeat(refresh, () => EVERY);
  startCharts();
}
