// Alerts that fire, and their silences. What somebody did here counts at once: Alertmanager tells it a moment later.

import { del, post } from "../lib/api.js";
import { h, icon, named } from "../lib/dom.js";
import { open } from "../lib/dialogs.js";
import { fail, tell } from "../lib/messages.js";
import { t, tx, has } from "../lib/texts.js";
import { time } from "../lib/time.js";

const MINUTES = [30, 120, 480, 1440, 10_080];
const USUAL = 120;
const COMMENT_MOST = 500;
// Every process of the service has told it by then.
const OWN_COUNTS = 20_000;

const mayEnd = document.body.dataset.scopes.split(" ").includes("admin");
// fingerprint -> {id, until}; id of a silence -> until
const begun = new Map();
const ended = new Map();

/** The overview with what was done here: alerts of it silenced or loud, and how many of them need somebody. */
export function withOwn(overview) {
  const now = Date.now();
  const alerts = overview.alerts.map((alert) => {
    const own = begun.get(alert.fingerprint);
    const silences = new Set(alert.silences);
    if (own && own.until > now) silences.add(own.id);
    return { ...alert, silences: [...silences].filter((id) => !(ended.get(id) > now)) };
  });
  const loud = alerts.filter((alert) => !alert.silences.length).length;
  const told = overview.alerts.filter((alert) => !alert.silences.length).length;
  if (loud === told) return { ...overview, alerts };
  const others = overview.needs.filter((need) => need.code !== "alerts_firing");
  const need = { code: "alerts_firing", text: "", link: "/#alerts", count: loud };
  const place = others[0]?.code === "no_worker" ? 1 : 0;
  return { ...overview, alerts, needs: loud ? others.toSpliced(place, 0, need) : others };
}

/** The row of an alert; `changed()` is called after it was silenced, or a silence ended. */
export function row(alert, changed) {
  const { name, severity } = alert;
  const silenced = alert.silences.length > 0;
  const kind = silenced ? null : severity === "critical" ? "bad" : "warning";
  const known = `overview.severities.${severity}`;
  return h("li", { class: "card alert", "data-severity": severity, "data-silenced": silenced, "data-alert": name },
    h("div", { class: "alert-text" },
      h("div", { class: "alert-head" }, h("b", {}, named(name)),
        h("span", { class: "chip", "data-kind": kind }, has(known) ? t(known) : severity),
        silenced && h("span", { class: "chip" }, icon("bell-off"), t("overview.alerts.silenced"))),
      alert.summary && h("p", {}, alert.summary),
      alert.description && alert.description !== alert.summary && h("p", { class: "muted small" }, alert.description),
      h("p", { class: "muted small" }, tx("overview.alerts.since", { time: time(alert.since) }))),
    h("div", { class: "actions" },
      alert.runbook_url && h("a", { class: "button", href: alert.runbook_url, rel: "noreferrer", "aria-label": t("overview.alerts.runbook_of", { name }) },
        icon("info"), t("overview.alerts.runbook")),
      mayEnd && silenced && h("button", { type: "button", "data-act": "end", "aria-label": t("overview.alerts.end_of", { name }), onclick: () => finish(alert, changed) },
        icon("bell"), t("overview.alerts.end")),
      mayEnd && !silenced && alert.fingerprint && h("button", { type: "button", "data-act": "silence", "aria-label": t("overview.alerts.silence_of", { name }), onclick: () => silence(alert, changed) },
        icon("bell-off"), t("overview.alerts.silence"))));
}

async function silence(alert, changed) {
  const how = h("select", { id: "silence-minutes", autofocus: true }, MINUTES.map((each) =>
    h("option", { value: each, selected: each === USUAL }, t(`overview.minutes.${each}`))));
  const why = h("input", { id: "silence-why", maxlength: COMMENT_MOST, dir: "auto", autocomplete: "off", "aria-describedby": "silence-why-help" });
  const made = await open({
    title: t("overview.alerts.dialog", { name: alert.name }),
    id: "silence",
    content: () => h("div", { class: "fields" },
      h("p", {}, t("overview.alerts.dialog_help")),
      h("div", { class: "field" }, h("label", { for: how.id }, t("overview.alerts.how_long")), how),
      h("div", { class: "field" }, h("label", { for: why.id }, t("overview.alerts.why"), " ", h("span", { class: "muted" }, t("frame.optional"))), why,
        h("p", { id: "silence-why-help", class: "help" }, t("overview.alerts.why_help")))),
    actions: [
      { text: t("frame.cancel"), value: null },
      {
        text: t("overview.alerts.silence"), kind: "primary", submit: true,
        run: () => post("/overview/silences", {
          fingerprint: alert.fingerprint, minutes: Number(how.value), ...(why.value.trim() ? { comment: why.value.trim() } : {}),
        }),
      },
    ],
  });
  if (!made) return;
  begun.set(alert.fingerprint, { id: made.id, until: Date.now() + OWN_COUNTS });
  changed();
  tell(tx("overview.alerts.begun", { name: named(alert.name), time: t(`overview.minutes.${how.value}`) }),
    { kind: "good", undo: () => end([made.id]).then(changed) });
}

async function finish(alert, changed) {
  try {
    await end(alert.silences);
    tell(tx("overview.alerts.ended", { name: named(alert.name) }), { kind: "good" });
  } catch (error) {
    fail(error);
  }
  changed();
}

async function end(ids) {
  for (const id of ids) {
    try {
      await del(`/overview/silences/${id}`);
    } catch (error) {
      // It is over, which is what was wanted.
      if (error.code !== "silence_not_found") throw error;
    }
    ended.set(id, Date.now() + OWN_COUNTS);
  }
}
