// Photos that failed, by reason: try all of a reason again, or delete them.

import { del, get, photoUrl, post } from "../lib/api.js";
import { current, onCollection } from "../lib/collection.js";
import { byId, h, icon, put } from "../lib/dom.js";
import { open } from "../lib/dialogs.js";
import { fail, tell } from "../lib/messages.js";
import { repeat } from "../lib/repeat.js";
import { empty, failed, skeleton } from "../lib/states.js";
import { number, t, tx } from "../lib/texts.js";
import { time } from "../lib/time.js";
import { inWords } from "../lib/words.js";

const EVERY = 10;
const TABLE = "/api/v1/failures.csv";
const scopes = new Set(document.body.dataset.scopes.split(" "));
const may = (scope) => scopes.has(scope) || scopes.has("admin");

const place = byId("jobs-failures");
const all = byId("failures-csv");
let shown = null;

/** Shows them, and goes on; `changed()` is called after some were tried again or deleted. */
export function startFailures({ changed }) {
  put(place, skeleton("row", 2));
  const after = () => {
    changed();
    return going.now();
  };
  const going = repeat(() => refresh(after), () => EVERY);
  onCollection(() => {
    shown = null;
    put(place, skeleton("row", 2));
    going.now();
  });
  document.addEventListener("photo-finished", () => going.now());
}

async function refresh(after) {
  const collection = current();
  try {
    const answer = await get("/failures", { query: { collection }, etag: true });
    if (collection !== current()) return;
    const told = JSON.stringify(answer);
    // What is the same stays, with the focus that somebody has on it.
    if (told === shown) return;
    shown = told;
    draw(answer, after);
  } catch (error) {
    if (shown === null) put(place, failed(error, () => refresh(after)));
  }
}

const table = (reason) => {
  const wanted = Object.entries({ reason, collection: current() }).filter(([, value]) => value);
  return wanted.length ? `${TABLE}?${new URLSearchParams(wanted)}` : TABLE;
};

function draw({ failures }, after) {
  const focused = document.activeElement?.closest("[data-reason]")?.dataset.reason;
  all.hidden = failures.length === 0;
  all.href = table(null);
  put(place, failures.length
    ? h("ul", { class: "failures" }, failures.map((each) => row(each, after)))
    : empty({ icon: "good", title: t("jobs.failures.none"), text: t("jobs.failures.none_help") }));
  if (focused === undefined) return;
  const again = [...place.querySelectorAll("[data-reason]")].find((each) => each.dataset.reason === focused);
  (again?.querySelector("button, a") ?? byId("failures")).focus();
}

function row(failure, after) {
  const reason = inWords({ code: failure.reason, message: failure.words });
  return h("li", { class: "card failure", "data-reason": failure.reason },
    h("p", { class: "failure-number" }, number(failure.photos), h("span", {}, t("jobs.failures.photos", { n: failure.photos }))),
    h("div", { class: "failure-text" },
      h("p", {}, reason),
      failure.retry_helps ? null : h("p", { class: "muted small" }, t("jobs.failures.retry_no_help")),
      h("p", { class: "failure-facts" }, h("code", {}, failure.reason),
        failure.last_at && h("span", {}, tx("jobs.failures.last", { time: time(failure.last_at) })),
        h("a", { href: photoUrl(failure.example_photo_id) }, t("jobs.failures.example")))),
    h("div", { class: "actions" },
      may("write") && h("button", {
        type: "button", class: failure.retry_helps ? "primary" : null, "data-act": "retry", "aria-label": t("jobs.failures.retry_of", { reason }),
        onclick: (event) => retry(failure, event.currentTarget, after),
      }, icon("retry"), t("jobs.failures.retry")),
      h("a", { class: "button", href: table(failure.reason), download: `${failure.reason}.csv`, "aria-label": t("jobs.failures.csv_of", { reason }) },
        icon("download"), t("jobs.failures.csv_one")),
      may("erase") && h("button", {
        type: "button", class: "danger-text", "data-act": "delete", "aria-label": t("jobs.failures.delete_of", { reason }),
        onclick: (event) => erase(failure, event.currentTarget, after),
      }, icon("delete"), t("jobs.failures.delete"))));
}

async function retry(failure, button, after) {
  button.disabled = true;
  const collection = current();
  try {
    const { retried } = await post("/photos/retry", { reason: failure.reason, ...(collection ? { collection } : {}) });
    tell(t("jobs.failures.retried", { n: retried }), { kind: "good" });
    await after();
  } catch (error) {
    fail(error);
  } finally {
    button.disabled = false;
  }
}

async function erase(failure, button, after) {
  button.disabled = true;
  const path = `/failures/${failure.reason}`;
  const query = { collection: current() };
  try {
    const would = await del(path, { query: { ...query, dry_run: "true" } });
    const receipt = await open({
      title: t("jobs.failures.delete_title", { n: would.photos }),
      id: "erase-failures",
      content: () => h("div", { class: "stack" }, h("p", {}, t("jobs.failures.delete_help")), told(would)),
      actions: [
        { text: t("frame.cancel"), value: null },
        { text: t("jobs.failures.delete_yes"), kind: "danger", submit: true, run: () => whole(path, query) },
      ],
    });
    if (receipt) {
      await after();
      await open({
        title: t("jobs.failures.receipt"),
        id: "receipt",
        content: () => h("div", { class: "stack" }, h("p", {}, t("jobs.failures.deleted", { n: receipt.photos })), told(receipt)),
        actions: [{ text: t("frame.close"), value: true, kind: "primary", submit: true }],
      });
    }
  } catch (error) {
    fail(error);
  } finally {
    button.disabled = false;
  }
}

// More than one request can take goes in several.
async function whole(path, query) {
  for (;;) {
    try {
      return await del(path, { query });
    } catch (error) {
      if (error.code !== "erasure_unfinished") throw error;
    }
  }
}

const told = (receipt) =>
  h("div", { class: "stack" }, h("dl", { class: "receipt" }, [
    [t("jobs.failures.count"), number(receipt.photos)],
    [t("jobs.failures.files"), number(receipt.originals)],
    [t("jobs.failures.faces"), number(receipt.faces)],
    [t("jobs.failures.collections"), receipt.collections.join(", ") || t("jobs.none")],
  ].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
  receipt.kept.map((each) => h("p", { class: "muted small" }, `${inWords(each)} (${number(each.count)})`)));
