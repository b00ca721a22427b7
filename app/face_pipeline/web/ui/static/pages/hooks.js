// Web hooks: who is told of events, and what became of it.

import { del, get, patch, post } from "../lib/api.js";
import { open } from "../lib/dialogs.js";
import { byId, h, icon, put } from "../lib/dom.js";
import { fail, tell } from "../lib/messages.js";
import { during, empty } from "../lib/states.js";
import { t, tx } from "../lib/texts.js";
import { time } from "../lib/time.js";
import { answerOf, chipOf, newest, showDeliveries } from "../admin/deliveries.js";
import { hookForm, KINDS } from "../admin/hook_form.js";
import { showOnce } from "../admin/secret.js";

const MOST = 200;
const POLL = 1500;
const POLLS = 20;

const place = byId("hooks");
const url = (hook) => h("span", { class: "url", title: hook.url, dir: "ltr" }, hook.url);

const load = () => during(place, async () => {
  const { hooks } = await get("/hooks", { query: { limit: MOST } });
  if (hooks.length) return h("ul", { class: "stack hooks", "aria-label": t("hooks.title") }, hooks.map(card));
  return empty({ icon: "hooks", title: t("hooks.none"), text: t("hooks.none_help"),
    actions: [h("button", { type: "button", class: "primary", onclick: make }, t("hooks.make"))] });
}, { kind: "row", number: 3 });

function stateChip(hook) {
  const gone = hook.disabled_reason === "gone";
  const [key, kind] = gone ? ["gone", "bad"] : hook.enabled ? ["on", "good"] : ["paused", "warning"];
  return h("span", { class: "chip", "data-kind": kind }, t(`hooks.is.${key}`));
}

function card(hook) {
  const last = h("p", { class: "last" });
  const below = h("div", { class: "stack deliveries", hidden: true });
  const on = hook.enabled && !hook.disabled_reason;
  const more = h("button", { type: "button", "aria-expanded": "false", onclick: () => unfold(!more.list) }, icon("down"), t("hooks.deliveries"));
  const parts = { hook, last, unfold };
  function unfold(open) {
    more.setAttribute("aria-expanded", String(open));
    below.hidden = !open;
    more.list?.stop();
    more.list = open ? showDeliveries(below, hook) : null;
    if (!open) put(below);
    return more.list;
  }
  parts.reload = () => more.list?.reload();
  showLast(parts).catch(() => put(last));
  const kinds = hook.kinds.length === KINDS.length ? t("hooks.every_kind") : hook.kinds.map((kind) => t(`hooks.kinds.${kind}`)).join(", ");
  return h("li", { class: "panel hook", "data-id": hook.id },
    h("div", { class: "panel-head" }, h("h2", {}, url(hook)), stateChip(hook)),
    h("p", { class: "muted" }, kinds, " · ", hook.collections ? hook.collections.join(", ") : t("reach.all")),
    hook.disabled_reason === "gone" ? h("p", { class: "banner", "data-kind": "warning" }, t("hooks.gone_help")) : null,
    last,
    h("div", { class: "actions" },
      h("button", { type: "button", onclick: (event) => test(parts, event.currentTarget) }, icon("hooks"), t("hooks.test")),
      more,
      h("button", { type: "button", "data-act": "switch", onclick: () => switchTo(hook, !on) }, t(on ? "hooks.pause" : "hooks.go_on")),
      h("button", { type: "button", class: "quiet", onclick: () => change(hook) }, icon("edit"), t("hooks.change")),
      h("button", { type: "button", class: "quiet", onclick: () => renew(hook) }, icon("keys"), t("hooks.new_secret")),
      h("button", { type: "button", class: "quiet", onclick: () => remove(hook) }, icon("delete"), t("hooks.remove"))),
    below);
}

async function showLast({ hook, last }) {
  const delivery = await newest(hook);
  put(last, delivery
    ? [chipOf(delivery), " ", t(`hooks.kinds.${delivery.kind}`), ", ", time(delivery.last_tried_at ?? delivery.created_at), " · ", h("span", { class: "answer" }, answerOf(delivery))]
    : h("span", { class: "muted" }, t("hooks.never")));
  return delivery;
}

const wait = () => new Promise((done) => setTimeout(done, POLL));

async function test(parts, button) {
  button.disabled = true;
  try {
    const sent = await post(`/hooks/${parts.hook.id}/test`);
    tell(t("hooks.test_sent"));
    const list = parts.unfold(true);
    for (let polls = 0; polls < POLLS; polls += 1) {
      await wait();
      const { deliveries } = await get(`/hooks/${parts.hook.id}/deliveries`, { query: { limit: 20 } });
      const now = deliveries.find((each) => each.id === sent.id);
      if (now && now.state !== "waiting") {
        await Promise.all([list.reload(), showLast(parts)]);
        if (now.state === "delivered") tell(t("hooks.test_arrived"), { kind: "good" });
        else tell(t("hooks.test_failed", { why: answerOf(now) }), { kind: "bad" });
        return;
      }
    }
    tell(t("hooks.test_waits"), { kind: "bad" });
  } catch (error) {
    fail(error);
  } finally {
    button.disabled = false;
  }
}

async function tellSecret(hook, title) {
  const { secret } = hook;
  delete hook.secret;
  await showOnce({ title, lead: tx("hooks.secret_lead"), label: t("hooks.secret"), secret });
  await load();
}

async function make() {
  const made = await hookForm();
  if (made) await tellSecret(made, t("hooks.made"));
}

async function change(hook) {
  if (!(await hookForm(hook))) return;
  tell(t("hooks.changed"), { kind: "good" });
  await load();
}

async function switchTo(hook, enabled) {
  try {
    await patch(`/hooks/${hook.id}`, { enabled });
    tell(t(enabled ? "hooks.goes_on" : "hooks.is_paused"), { kind: "good", undo: enabled ? null : () => switchTo(hook, true) });
    await load();
    place.querySelector(`[data-id="${hook.id}"] [data-act=switch]`)?.focus();
  } catch (error) {
    fail(error);
  }
}

async function renew(hook) {
  const answer = await open({ title: t("hooks.new_secret_title"),
    content: () => h("div", { class: "fields" }, h("p", { class: "address" }, url(hook)), h("p", {}, t("hooks.new_secret_lead"))),
    actions: [{ text: t("frame.cancel") }, { text: t("hooks.new_secret"), kind: "primary", submit: true, run: () => patch(`/hooks/${hook.id}`, { rotate_secret: true }) }] });
  if (answer) await tellSecret(answer, t("hooks.renewed"));
}

async function remove(hook) {
  const done = await open({ title: t("hooks.remove_title"),
    content: () => h("div", { class: "fields" }, h("p", { class: "address" }, url(hook)), h("p", {}, t("hooks.remove_lead"))),
    actions: [{ text: t("frame.cancel") }, { text: t("hooks.remove"), kind: "danger", submit: true, run: () => del(`/hooks/${hook.id}`) }] });
  if (!done) return;
  tell(t("hooks.removed"), { kind: "good" });
  await load();
}

byId("hooks-make").addEventListener("click", make);
load();
