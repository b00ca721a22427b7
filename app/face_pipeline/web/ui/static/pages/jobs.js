// What waits, who works on it, how fast it goes, and what failed.

import { get } from "../lib/api.js";
import { byId, h, named, put } from "../lib/dom.js";
import { figure } from "../lib/figures.js";
import { tell } from "../lib/messages.js";
import { repeat } from "../lib/repeat.js";
import { empty, failed } from "../lib/states.js";
import { has, number, t, tx } from "../lib/texts.js";
import { duration } from "../lib/time.js";
import { inWords } from "../lib/words.js";
import { startFailures } from "../jobs/failures.js";

const EVERY = 5;
const places = {
  numbers: byId("jobs-numbers"), queues: byId("jobs-queues"), rates: byId("jobs-rates"), workers: byId("jobs-workers"),
  running: byId("jobs-running"), command: byId("jobs-command"), stale: byId("jobs-stale"), error: byId("jobs-error"),
};
let known = false;

async function refresh() {
  try {
    const jobs = await get("/jobs", { etag: true });
    known = true;
    places.stale.hidden = true;
    put(places.error);
    draw(jobs);
  } catch (error) {
    if (!known) put(places.error, failed(error, going.now));
    places.stale.textContent = t("jobs.stale", { reason: inWords(error) });
    places.stale.hidden = !known;
  }
}

function draw({ photos, queues, rates, workers, scaling }) {
  const none = t("jobs.none");
  const oldest = photos.oldest_waiting_seconds;
  put(places.numbers, [
    figure(t("jobs.numbers.waiting"), number(photos.waiting)),
    figure(t("jobs.numbers.processing"), number(photos.processing)),
    figure(t("jobs.numbers.oldest"), oldest === null ? none : duration(Math.max(1, Math.round(oldest)))),
    figure(t("jobs.numbers.done"), number(photos.done_today)),
    figure(t("jobs.numbers.failed"), number(photos.failed), { kind: photos.failed ? "bad" : null }),
  ]);
  put(places.queues, queues.map((each) => h("tr", { "data-queue": each.name },
    h("th", { scope: "row" }, has(`jobs.queues.names.${each.name}`) ? t(`jobs.queues.names.${each.name}`) : each.name),
    h("td", { class: "number" }, number(each.messages)))));
  put(places.rates, rates.map((each) => h("tr", {},
    h("th", { scope: "row" }, duration(each.seconds)),
    h("td", { class: "number" }, number(each.done)),
    h("td", { class: "number" }, number(Number(each.done_per_second.toFixed(2)))),
    h("td", { class: each.failed ? "number bad" : "number" }, number(each.failed)))));
  drawWorkers(workers, scaling);
  places.command.textContent = scaling.command;
  byId("jobs-copy").disabled = false;
  byId("jobs-by-hand").hidden = !scaling.by_hand;
}

function drawWorkers(workers, { running, wanted }) {
  places.running.textContent = wanted === null ? t("jobs.workers.running", { running }) : t("jobs.workers.running_of", { running, wanted });
  if (!workers.length) {
    put(places.workers, empty({ icon: "jobs", title: t("jobs.workers.none"), text: tx("jobs.workers.none_help") }));
    return;
  }
  const rows = workers.map(worker);
  const body = places.workers.querySelector("tbody");
  // The table stays, and with it how far somebody scrolled it to the side.
  if (body) put(body, rows);
  else {
    const heads = [["name"], ["host"], ["busy"], ["rate", "number"], ["tasks", "number"], ["provider"], ["heard"]];
    put(places.workers, h("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-labelledby": "workers-title" },
      h("table", {},
        h("thead", {}, h("tr", {}, heads.map(([name, kind]) => h("th", { scope: "col", class: kind }, t(`jobs.workers.${name}`))))),
        h("tbody", {}, rows))));
  }
}

function worker(each) {
  const heard = t("jobs.workers.heard_ago", { time: duration(Math.max(1, Math.round(each.last_heard_seconds))) });
  return h("tr", { "data-worker": each.name, "data-alive": String(each.alive) },
    h("td", {}, h("span", { class: "worker-name" }, named(each.name), each.unit && h("span", { class: "muted small" }, each.unit))),
    h("td", {}, h("span", { class: "worker-name" }, named(each.host))),
    h("td", {}, h("span", { class: "busy" }, t("jobs.workers.busy_of", { busy: each.busy, threads: each.threads }),
      h("progress", { max: each.threads, value: each.busy, "aria-hidden": "true" }))),
    h("td", { class: "number" }, number(each.photos_last_minute)),
    h("td", { class: "number" }, number(each.tasks_done)),
    h("td", {}, each.provider.replace(/ExecutionProvider$/, "")),
    h("td", {}, each.alive ? heard : h("span", { class: "chip", "data-kind": "bad" }, `${t("jobs.workers.silent")} · ${heard}`)));
}

byId("jobs-copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(places.command.textContent);
    tell(t("jobs.scale.copied"), { kind: "good" });
  } catch {
    getSelection().selectAllChildren(places.command);
    tell(t("jobs.scale.not_copied"));
  }
});

put(places.numbers, Array.from({ length: 5 }, () => h("div", { class: "skeleton", "aria-hidden": "true" })));
const going = repeat(refresh, () => EVERY);
startFailures({ changed: () => going.now() });
