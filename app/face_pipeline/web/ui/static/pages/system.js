// System: what is installed, how it is set, and whether each part is well.

import { get } from "../lib/api.js";
import { byId, h, icon, put } from "../lib/dom.js";
import { during } from "../lib/states.js";
import { coded, has, number, t, tx } from "../lib/texts.js";
import { duration, moment, time } from "../lib/time.js";
import { bytes } from "../lib/words.js";

// Of the doctor, in actions/doctor.py: what it warns of.
const DAYS_SOON = 14;
const SHARE_LEAST = 0.1;
const KINDS = { ok: "good", warn: "warning", fail: "bad", skipped: null };
const ICONS = { ok: "good", warn: "warning", fail: "warning", skipped: "info" };
const WORST_FIRST = ["fail", "warn", "skipped", "ok"];

const fact = (label, ...value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));
const help = (text) => h("p", { class: "help" }, text);
const facts = (...rows) => h("dl", { class: "facts" }, rows);
const chip = (kind, text) => h("span", { class: "chip", "data-kind": kind }, text);
const some = (value) => (value === 0 ? t("system.any_number") : number(value));

const card = (name, ...children) => h("section", { class: "panel stack", "aria-labelledby": `system-${name}` },
  h("h2", { id: `system-${name}` }, t(`system.cards.${name}`)), children);

function release({ release: its, database, host }) {
  return card("release", facts(
    fact(t("system.version"), its.version, help(h("code", {}, its.id))),
    fact(t("system.schema"), database.current ?? "–", " ", database.up_to_date ? chip("good", t("system.up_to_date")) : chip("bad", t("system.needs", { head: database.head ?? "–" })),
      database.up_to_date ? null : help(tx("system.migrate"))),
    fact("PostgreSQL", database.postgresql, help(t("system.database_size", { size: bytes(database.database_bytes) }))),
    fact(t("system.host"), host.name, help(t("system.cores", { n: host.cores })))));
}

function pack({ pack: its }) {
  if (!its) return card("pack", h("p", { class: "banner", "data-kind": "bad" }, t("system.no_pack")));
  return card("pack", facts(
    fact(t("system.name"), its.name, help(its.engine)),
    fact(t("system.licence"), its.licence),
    fact(t("system.contract"), h("code", {}, its.contract_id), help(t("system.contract_help", { n: its.dimension }))),
    ...its.files.map((file) => fact(t("system.file", { role: file.role }), file.name, help(h("code", {}, `SHA-256 ${file.sha256}`))))));
}

const rate = (share) => (share === null ? t("system.not_measured") : share === 0 ? t("system.no_stranger") : t("system.one_in", { n: Math.round(1 / share) }));

function thresholds({ pack: its }) {
  if (!its) return null;
  const { sure, likely, sure_false_match_rate: surely, likely_false_match_rate: probably } = its.thresholds;
  const value = (number_) => h("span", { class: "threshold" }, h("b", {}, number(Number(number_.toFixed(3)))), h("meter", { min: 0, max: 1, value: Math.max(0, number_), "aria-hidden": "true" }));
  return card("thresholds",
    facts(
      fact(t("system.sure"), value(sure), help(t("system.sure_help")), help(rate(surely))),
      fact(t("system.likely"), value(likely), help(t("system.likely_help")), help(rate(probably))),
      fact(t("system.unsure"), help(t("system.unsure_help")))),
    help(t("system.cosine")));
}

// The engine whose runtime may be chosen.
const CHOOSING = "insightface";

function profile(its) {
  if (its.profile_refusal) return [chip("warning", t("system.fast_refused")), help(sentence(its.profile_refusal))];
  return its.profile === "fast" ? help(t("system.fast")) : null;
}

function runtime(its, engine) {
  if (!its) return null;
  if (its.used === null) return fact(t("system.runtime"), chip("bad", t("system.not_installed", { name: its.wanted })));
  if (engine !== CHOOSING) return fact(t("system.runtime"), its.used, help(t("system.always")), profile(its));
  const gain = its.milliseconds && its.milliseconds_original ? number(Number((its.milliseconds_original / its.milliseconds).toFixed(2))) : null;
  return fact(t("system.runtime"), its.used,
    help(t(its.wanted === "auto" ? "system.by_measure" : "system.by_setting")),
    help(its.prepared ? t("system.prepared") : t("system.not_prepared")),
    profile(its),
    gain ? help(t("system.gain", { n: gain })) : null);
}

function compute({ providers, device, runtime: its, pack, host }) {
  const workers = providers === null ? chip("bad", t("system.queues_silent"))
    : providers.length ? h("ul", { class: "stack tight" }, providers.map((each) => h("li", {}, h("b", {}, each.name), " ", h("span", { class: "muted" }, t("system.workers", { n: each.workers })))))
      : chip("warning", t("system.no_worker"));
  const used = host.memory_bytes - host.memory_available_bytes;
  return card("compute", facts(
    fact(t("system.providers"), workers),
    fact(t("system.device"), has(`system.devices.${device}`) ? t(`system.devices.${device}`) : device),
    runtime(its, pack?.engine),
    fact(t("system.memory"), bar(used, host.memory_bytes, t("system.free_of", { free: bytes(host.memory_available_bytes), total: bytes(host.memory_bytes) })))));
}

function bar(used, total, text) {
  const low = total > 0 && (total - used) / total < SHARE_LEAST;
  return [h("p", {}, text), h("meter", { class: low ? "low" : null, min: 0, max: Math.max(1, total), value: used, "aria-label": text })];
}

function disks({ host, backups }) {
  const disk = (label, its, why) => fact(label, its
    ? [bar(its.total_bytes - its.free_bytes, its.total_bytes, t("system.free_of", { free: bytes(its.free_bytes), total: bytes(its.total_bytes) })), help(h("code", {}, its.path))]
    : h("span", { class: "muted" }, why));
  return card("disks", facts(
    disk(t("system.originals"), host.originals, t("system.originals_elsewhere")),
    disk(t("system.database"), host.database, t("system.database_elsewhere")),
    fact(t("system.backups"), backups.configured ? chip("good", t("system.configured")) : chip("warning", t("system.not_configured")), help(sentence(backups.words)))));
}

// It may end in a command or an address: no full stop is put behind it.
const sentence = (text) => coded(text.charAt(0).toUpperCase() + text.slice(1));

function certificate({ tls }) {
  const its = tls.certificate;
  if (!its) return card("certificate", h("p", { class: "muted" }, sentence(tls.words)));
  const days = its.days_left;
  return card("certificate", facts(
    fact(t("system.days_left"), chip(days < 0 ? "bad" : days < DAYS_SOON ? "warning" : "good", t("words.days", { n: days })), help(t("system.until", { when: moment(its.not_after) }))),
    fact(t("system.subject"), its.subject),
    fact(t("system.issuer"), its.issuer)));
}

function limits({ limits: its }) {
  return card("limits", facts(
    fact(t("system.photo"), t("system.photo_limit", { size: bytes(its.upload_max_bytes), megapixels: Math.round(its.upload_max_pixels / 1e6) })),
    fact(t("system.upload"), t("system.upload_limit", { n: its.upload_max_photos, size: bytes(its.request_max_bytes) })),
    fact(t("system.per_minute"), some(its.requests_per_minute), help(t("system.per_minute_help"))),
    fact(t("system.sign_ins"), some(its.failed_sign_ins_per_minute)),
    fact(t("system.search_wait"), duration(its.search_timeout_seconds)),
    fact(t("system.task"), t("system.task_limit", { n: its.task_max_attempts, time: duration(its.task_deadline_seconds) }))));
}

function retention({ retention: its }) {
  return card("retention", facts(
    fact(t("system.events"), t("words.days", { n: its.events_days })),
    fact(t("system.merges"), t("system.hours", { n: its.merges_undo_hours })),
    fact(t("system.answers"), t("system.hours", { n: its.idempotent_answers_hours })),
    fact(t("system.searches"), its.search_answers_seconds ? duration(its.search_answers_seconds) : t("system.not_kept")),
    fact(t("system.audit"), sentence(its.audit))));
}

function links({ doors, links: pages }) {
  const entry = ({ name, path }) => h("li", {}, h("a", { href: path }, icon(path.startsWith("/docs") ? "docs" : path.startsWith("/runbooks") ? "info" : "door"),
    h("span", {}, name, has(`system.about.${path.replaceAll("/", "")}`) ? h("span", { class: "muted small" }, t(`system.about.${path.replaceAll("/", "")}`)) : null)));
  return card("links", h("ul", { class: "links" }, [...pages, ...doors].map(entry)));
}

const load = () => during(byId("system"), async () => {
  const told = await get("/system");
  return h("div", { class: "cards" }, [release, pack, thresholds, compute, disks, certificate, limits, retention, links].map((draw) => draw(told)));
}, { kind: "tile", number: 6 });

function finding({ check, state, found, mend }) {
  return h("li", { class: "finding", "data-state": state }, icon(ICONS[state]),
    h("div", {}, h("p", {}, h("b", {}, check.charAt(0).toUpperCase() + check.slice(1)), " ",
        state === "ok" ? h("span", { class: "visually-hidden" }, t("system.states.ok")) : chip(KINDS[state], t(`system.states.${state}`))),
      h("p", { class: "muted" }, sentence(found)), mend ? h("p", { class: "mend" }, h("b", {}, t("system.mend")), " ", sentence(mend)) : null));
}

async function examine() {
  const again = byId("doctor-again");
  const asked = document.activeElement === again;
  again.disabled = true;
  await during(byId("doctor"), async () => {
    const { state, findings, command } = await get("/system/doctor");
    const wrong = findings.filter((each) => each.state === "fail" || each.state === "warn").length;
    put(byId("doctor-at"), t("system.looked"), " ", time(new Date().toISOString()));
    // Those that need somebody first; the well ones in a fold when there are others.
    const sorted = [...findings].sort((one, other) => WORST_FIRST.indexOf(one.state) - WORST_FIRST.indexOf(other.state));
    const needy = sorted.filter((each) => each.state !== "ok");
    const well = sorted.filter((each) => each.state === "ok");
    return [
      h("p", { class: "banner", "data-kind": { ok: "good", skipped: "good" }[state] ?? KINDS[state], role: "status" },
        icon(wrong ? "warning" : "good"), wrong ? t("system.wrong", { n: wrong }) : t("system.all_well")),
      needy.length ? h("ul", { class: "findings" }, needy.map(finding)) : null,
      h("details", { class: "fold", open: !needy.length }, h("summary", {}, t("system.well", { n: well.length })), h("ul", { class: "findings" }, well.map(finding))),
      h("p", { class: "help" }, tx("system.command", { command: h("code", {}, command) })),
    ];
  }, { kind: "line", number: 8 });
  again.disabled = false;
  if (asked) again.focus();
}

byId("doctor-again").addEventListener("click", examine);
load();
examine();
