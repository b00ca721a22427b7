// One group at a time: who is it? The place is in the address, and kept for when one comes back.

import { get, isAbort } from "../../lib/api.js";
import { current, onCollection } from "../../lib/collection.js";
import { byId, h, icon, named, put } from "../../lib/dom.js";
import { shortcut } from "../../lib/keys.js";
import { tell } from "../../lib/messages.js";
import { avatar } from "../../lib/pictures.js";
import { empty, failed, skeleton } from "../../lib/states.js";
import { t, tx } from "../../lib/texts.js";
import { may, sayIt } from "../people/shared.js";
import { drawGroup } from "./group.js";
import { forget, give, hide, look, prepare, queue } from "./groups.js";

const PLACE = "face-unknown";
const SHOWN = 24;
const PATIENCE = 300;
const changes = may("enrol");

let groups = queue();
let at = 0;
let shown = null; // what drawGroup gave
let busy = false;
let closeMessage = () => {};
const done = { named: 0, hidden: 0, skipped: 0 };

export function startWaiting() {
  onCollection(() => begin());
  addEventListener("popstate", () => {
    const id = asked();
    if (location.pathname === "/unknown" && id && id !== groups.items[at]?.id) begin(id);
  });
  const here = () => shown !== null && !busy;
  if (changes) {
    shortcut("y", t("unknown.keys.yes"), () => shown.yes(), { when: () => here() && shown.guessed() });
    shortcut("n", t("unknown.keys.no"), () => shown.no(), { when: here });
    shortcut("h", t("unknown.keys.hide"), hideIt, { when: here });
  }
  shortcut("s", t("unknown.keys.skip"), skip, { when: here });
  shortcut("ArrowRight", t("unknown.keys.skip"), skip, { when: here });
  shortcut("ArrowLeft", t("unknown.keys.back"), () => go(at - 1), { when: () => !busy && at > 0 });
  begin(asked() ?? place());
}

const asked = () => new URLSearchParams(location.search).get("group");

function place(id) {
  try {
    if (id) localStorage.setItem(PLACE, id);
    return localStorage.getItem(PLACE);
  } catch {
    return null;
  }
}

/** Reads the list anew and shows the group `wanted`, or the largest. */
async function begin(wanted = null) {
  const mine = (groups = queue());
  at = 0;
  shown = null;
  const timer = setTimeout(() => put(byId("unknown-group"), skeleton("card", 6)), PATIENCE);
  try {
    await mine.more();
    // Somewhere further down, or hidden or too small for the list: it is shown all the same.
    const found = wanted ? await bring(mine, wanted) : 0;
    if (mine !== groups) return;
    clearTimeout(timer);
    await go(found);
  } catch (error) {
    if (mine === groups && !isAbort(error)) put(byId("unknown-group"), failed(error, () => begin(wanted)));
  } finally {
    clearTimeout(timer);
  }
}

async function bring(list, id) {
  const index = () => list.items.findIndex((each) => each.id === id);
  if (index() < 0) {
    const one = await look(id).catch(() => null);
    if (!one || one.group.hidden || (current() && one.group.collection !== current())) return 0;
    while (index() < 0 && list.items.at(-1)?.face_count >= one.group.face_count && (await list.more()));
    if (index() < 0) list.items.push({ ...one.group, faces: one.group.faces.map((face) => face.id) });
  }
  return index();
}

/** Shows the group of the list at `index`, or that it is the end. */
async function go(index, { focus = false } = {}) {
  if (index >= groups.items.length && !groups.ended) await groups.more().catch(sayIt);
  at = Math.max(0, Math.min(index, groups.items.length));
  const group = groups.items[at];
  drawQueue();
  shown = null;
  if (!group) return end();
  history.replaceState(history.state, "", `/unknown?group=${group.id}`);
  place(group.id);
  const target = byId("unknown-group");
  const timer = setTimeout(() => put(target, skeleton("card", 6)), PATIENCE);
  target.setAttribute("aria-busy", "true");
  try {
    const known = await look(group.id);
    if (groups.items[at] !== group) return undefined;
    shown = drawGroup(target, known, { give: giveIt, skip, hide: hideIt, back: at > 0 ? () => go(at - 1) : null });
    if (focus) shown.focus();
    if (groups.items[at + 1]) prepare(groups.items[at + 1].id);
    else if (!groups.ended) groups.more().then(drawQueue, () => {});
  } catch (error) {
    if (groups.items[at] !== group) return undefined;
    if (error.status === 404) return lost(error);
    put(target, failed(error, () => go(at)));
  } finally {
    clearTimeout(timer);
    target.removeAttribute("aria-busy");
  }
  return undefined;
}

// Somebody else was faster: on to the one that is in its place now.
function lost(error) {
  sayIt(error);
  forget(groups.items[at].id);
  groups.items.splice(at, 1);
  return go(at);
}

function drawQueue() {
  const start = Math.max(0, Math.min(at - 2, groups.items.length - SHOWN));
  const items = groups.items.slice(start, start + SHOWN);
  put(byId("unknown-queue"), items.length > 1 ? h("ol", { "aria-label": t("unknown.queue"), start: start + 1 }, items.map((group, index) => h("li", {},
    h("button", { type: "button", class: "queue-item", "aria-current": start + index === at ? "true" : null, onclick: () => go(start + index) },
      avatar(group.faces[0], 48), h("span", {}, t("words.faces", { n: group.face_count })))))) : null);
  const list = byId("unknown-queue").firstElementChild;
  const here = list?.querySelector("[aria-current]");
  // Along the list alone: the page stays where it is.
  if (here) list.scrollTo({ left: here.offsetLeft - list.clientWidth / 3, top: here.offsetTop - list.clientHeight / 3 });
}

async function act(work) {
  if (busy || !shown) return;
  busy = true;
  const group = groups.items[at];
  try {
    await work(group);
  } catch (error) {
    if (["cluster_not_found", "cluster_changed"].includes(error.code)) lost(error);
    else sayIt(error);
  } finally {
    busy = false;
  }
}

/** Says what was done, in the place of what was said before: Undo takes the last one back. */
function say(text, undo) {
  closeMessage();
  closeMessage = tell(text, { kind: "good", undo });
}

/** Puts the group back where it was, and shows it. */
async function back(group, index) {
  forget(group.id);
  if (!groups.items.some((each) => each.id === group.id)) groups.items.splice(index, 0, group);
  await go(groups.items.findIndex((each) => each.id === group.id), { focus: true });
}

const giveIt = (who, left) => act(async (group) => {
  const index = at;
  const { group: whole } = await look(group.id);
  const { person, given, undo } = await give(whole, left, who);
  done.named += 1;
  groups.items.splice(index, 1);
  say(tx("unknown.given", { n: given, name: named(person?.name ?? "") }), async () => {
    await undo();
    done.named -= 1;
    await back(group, index);
  });
  await go(index, { focus: true });
});

const hideIt = () => act(async (group) => {
  const index = at;
  await hide(group.id, true);
  done.hidden += 1;
  groups.items.splice(index, 1);
  say(t("unknown.was_hidden"), async () => {
    await hide(group.id, false);
    done.hidden -= 1;
    await back(group, index);
  });
  await go(index, { focus: true });
});

const skip = () => act(async (group) => {
  const index = at;
  done.skipped += 1;
  say(t("unknown.skipped"), async () => {
    done.skipped -= 1;
    await back(group, index);
  });
  await go(index + 1, { focus: true });
});

async function end() {
  history.replaceState(history.state, "", "/unknown");
  const target = byId("unknown-group");
  const again = h("button", { type: "button", class: "primary", onclick: () => begin() }, icon("retry"), t("unknown.from_start"));
  if (groups.items.length) {
    const counted = ["named", "hidden", "skipped"].filter((what) => done[what]).map((what) => t(`unknown.done.${what}`, { n: done[what] })).join(" · ");
    put(target, empty({ icon: "good", title: t("unknown.end"), text: counted || t("unknown.end_help"), actions: [again] }));
    return;
  }
  const named_ = done.named + done.hidden > 0;
  put(target, empty({
    icon: named_ ? "good" : "unknown", title: t(named_ ? "unknown.all_done" : "unknown.none"),
    text: [h("span", { class: "why" }, t("unknown.none_help")), h("span", { class: "why" }, t("unknown.none_where"))],
    actions: [h("a", { class: "button", href: "/photos" }, icon("photos"), t("unknown.to_photos"))],
  }));
  if (!current()) return;
  const { unknown_face_count: unnamed } = await get(`/collections/${encodeURIComponent(current())}`).catch(() => ({}));
  if (unnamed && !groups.items.length) target.querySelector(".empty > .muted")?.append(h("span", { class: "why" }, t("unknown.none_but", { n: unnamed })));
}
