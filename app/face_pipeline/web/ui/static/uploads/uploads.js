// The upload drawer over every page: what is dropped, chosen or pasted, and what becomes of it.

import { post } from "../lib/api.js";
import { collections, current, onCollection } from "../lib/collection.js";
import { collectionNames, combobox, confirm, persons } from "../lib/dialogs.js";
import { byId, h, put } from "../lib/dom.js";
import { fail, tell } from "../lib/messages.js";
import { t } from "../lib/texts.js";
import { bytes, inWords } from "../lib/words.js";
import { takeDrops } from "./drops.js";
import { Follower } from "./follow.js";
import { newId } from "./list.js";
import { Queue } from "./queue.js";
import { Rows } from "./rows.js";
import { AGAIN, ENDED, UNSENT } from "./states.js";

const NAME = /^[a-z0-9_][a-z0-9_-]{0,63}$/;
const DEFAULT = "default";
const AT_ONCE = 4;
// Other parts of the page hear of finished photos together.
const SETTLE = 500;
// With so many photos under way for so long, and none finished, something is slow.
const SLOW = 60_000;

const limits = document.body.dataset;
const canRead = limits.canRead === "true";
const own = limits.collections ? JSON.parse(limits.collections) : null;

let queue = null;
let follower = null;
let known = null;
let finishedAt = Date.now();
let telling = null;
// Ids of what had not ended when this page last heard of it.
const running = new Set();

export function startUploads() {
  const drawer = byId("uploads-drawer");
  if (!drawer) return;
  queue = new Queue({ who: byId("key-name").textContent, canRead, beforeSending: () => (canRead ? follower.mark() : undefined) });
  follower = new Follower(queue);
  const act = { retry, cancel, clear, choose: () => byId("upload-files").click() };
  new Rows(queue, { canRead, act });
  byId("open-uploads").addEventListener("click", () => drawer.showModal());
  startFields();
  startSources();
  const all = (fits) => [...queue.items.values()].filter(fits);
  byId("uploads-retry").addEventListener("click", () => retry(all((item) => AGAIN.has(item.state))));
  byId("uploads-clear").addEventListener("click", () => clear(all((item) => ENDED.has(item.state))));
  byId("uploads-cancel").addEventListener("click", () => cancelAll(all((item) => UNSENT.has(item.state))));
  for (const type of ["change", "removed", "condition", "kept", "foreign"]) queue.addEventListener(type, drawSoon);
  queue.addEventListener("change", ({ detail }) => noticeEnds(detail));
  queue.addEventListener("condition", () => {
    signInWhereSeen();
    if (!queue.condition) follower.soon();
  });
  document.addEventListener("visibilitychange", signInWhereSeen);
  document.addEventListener("signed-in", ({ detail }) => queue.go({ who: detail.name }));
  addEventListener("online", () => queue.condition?.kind === "offline" && queue.go());
  addEventListener("pagehide", () => queue.flush());
  addEventListener("beforeunload", (event) => queue.unsafe.length && event.preventDefault());
  setInterval(drawNotices, 1000);
  queue.start();
}

// Fields

function startFields() {
  const [collection, person] = [byId("upload-collection"), byId("upload-person")];
  const preset = (name) => {
    collection.value = name || (own && !own.includes(DEFAULT) ? own[0] : "");
    checkCollection();
  };
  if (canRead) {
    combobox(collection, { suggest: collectionNames, onPick: checkCollection });
    combobox(person, { suggest: persons(chosen) });
  }
  collection.addEventListener("input", checkCollection);
  collection.addEventListener("focus", () => canRead && collections().then((names) => (known = names), () => {}));
  preset(current());
  onCollection(preset);
}

const chosen = () => byId("upload-collection").value.trim() || DEFAULT;

// A name as it may be, made of one that may not.
const mended = (name) => name.toLowerCase().normalize("NFKD").replace(/[^a-z0-9_]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 64);

/** The error of the collection's name, or null. */
function wrongName(name) {
  if (!NAME.test(name)) return { code: "collection_name" };
  return own && !own.includes(name) ? { code: "collection_not_yours" } : null;
}

function nameInWords({ code, message }, name) {
  if (code === "collection_name") return mended(name) ? t("uploads.name_wrong_try", { name: mended(name) }) : t("uploads.name_wrong");
  if (code === "collection_not_yours") return t("uploads.name_not_yours", { names: own.join(", ") });
  return inWords({ code, message });
}

function checkCollection() {
  const field = byId("upload-collection");
  const error = wrongName(chosen());
  field.setAttribute("aria-invalid", String(Boolean(error)));
  const isNew = !error && known && !known.includes(chosen());
  const help = byId("upload-collection-help");
  help.classList.toggle("error-text", Boolean(error));
  help.textContent = error ? nameInWords(error, chosen()) : isNew ? t("uploads.collection_new") : t("uploads.collection_help");
}

// Files

function startSources() {
  const folder = byId("upload-folder");
  byId("upload-folder-label").hidden = !("webkitdirectory" in folder) || matchMedia("(pointer: coarse)").matches;
  for (const input of [byId("upload-files"), folder]) {
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = "";
      if (files.length) take(files, { folder: input === folder, unread: 0 });
    });
  }
  hint(false);
  takeDrops(take, hint);
}

function hint(shown) {
  const place = byId("upload-hint");
  if (shown) byId("upload-hint-where").textContent = t("uploads.hint_where", { collection: chosen() });
  if (!place.showPopover) place.hidden = !shown;
  else if (shown !== place.matches(":popover-open")) place.togglePopover(shown);
}

const isPicture = (file) => (file.type ? file.type.startsWith("image/") : /\.(jpe?g|png|webp|hei[cf]|avif)$/i.test(file.name));

function refused(file) {
  if (file.size === 0) return { code: "empty_file" };
  if (file.size > Number(limits.maxBytes)) return { code: "too_large" };
  return file.type && !isPicture(file) ? { code: "unsupported_type" } : null;
}

function take(files, { folder, unread }) {
  const photos = folder ? files.filter(isPicture) : files;
  const left = files.length - photos.length;
  if (left) tell(t("uploads.left_out", { n: left }));
  if (unread) tell(t("uploads.unread", { n: unread }), { kind: "bad" });
  if (!photos.length) return;
  const collection = chosen();
  // Who chooses a file again means the one that could not be read.
  const names = new Set(photos.map((file) => file.name));
  const lost = [...queue.items.values()].filter((item) => item.state === "lost" && names.has(item.name));
  if (lost.length) clear(lost);
  queue.add(photos.map((file) => ({ file, reason: refused(file) })), { collection, person: byId("upload-person").value.trim(), held: wrongName(collection) });
  if (!byId("uploads-drawer").open) byId("uploads-drawer").showModal();
}

// What can be done with items

async function retry(items) {
  queue.again(items.filter((item) => item.state === "stopped"));
  const failed = items.filter((item) => item.state === "failed" && item.photoId);
  const next = async () => {
    for (let item = failed.shift(); item; item = failed.shift()) await retryOnServer(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
}

async function retryOnServer(item) {
  try {
    await follower.mark();
    await post(`/photos/${item.photoId}/retry`, undefined, { headers: { "Idempotency-Key": newId() } });
    queue.set([item], { state: "underway", reason: null, recheck: false });
  } catch (error) {
    if (error.status === 409) queue.set([item], { state: "underway", reason: null, recheck: true });
    else if (error.status === 404) queue.set([item], { reason: { code: "photo_gone" } });
    else fail(error);
  }
}

function cancel(items) {
  const sending = items.some((item) => item.state === "sending");
  queue.cancel(items.map((item) => item.id));
  if (sending) tell(t("uploads.cancelled_sending"));
}

async function cancelAll(items) {
  const yes = await confirm({ title: t("uploads.cancel_title", { n: items.length }), text: t("uploads.cancel_text"), yes: t("uploads.cancel_yes"), danger: true });
  // Some were sent while somebody thought about it.
  if (yes) cancel(items.filter((item) => UNSENT.has(item.state) && queue.items.has(item.id)));
}

function clear(items) {
  queue.cancel(items.map((item) => item.id));
}

function noticeEnds(items) {
  if (items.some((item) => item.state === "underway")) follower.more();
  let ended = false;
  for (const { id, state } of items) {
    if (!ENDED.has(state)) running.add(id);
    else ended = running.delete(id) || ended;
  }
  if (!ended) return;
  finishedAt = Date.now();
  telling ??= setTimeout(() => {
    telling = null;
    document.dispatchEvent(new CustomEvent("photo-finished"));
  }, SETTLE);
}

// What the whole list waits for

async function signInWhereSeen() {
  if (queue.condition?.kind !== "signed_out" || document.hidden || queue.condition.asked) return;
  queue.condition.asked = true;
  await signIn();
}

async function signIn() {
  const { signInHere } = await import("../lib/sign_in_here.js");
  await signInHere();
}

let drawing = false;
let drawnNotices = "";
let spokenNotices = "";

function drawSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(drawNotices);
}

function drawNotices() {
  drawing = false;
  const items = [...queue.items.values()];
  const notices = [conditionNotice(items), heldNotice(items), unsafeNotice(), foreignNotice(), slowNotice(items)].filter(Boolean).map((each) => ({ said: each.text, ...each }));
  const key = JSON.stringify(notices.map(({ text, actions }) => [text, actions.map((each) => each.text)]));
  if (key === drawnNotices) return;
  drawnNotices = key;
  // Not each second that counts down.
  const kinds = notices.map(({ said }) => said).join(" ");
  if (kinds && kinds !== spokenNotices) byId("uploads-live").textContent = kinds;
  spokenNotices = kinds;
  const place = byId("uploads-notices");
  const focused = place.contains(document.activeElement) ? document.activeElement.textContent : null;
  put(place, notices.map(({ kind, text, actions }) => h("div", { class: "banner", "data-kind": kind }, h("p", {}, text),
    actions.length ? h("div", { class: "actions" }, actions.map((action) =>
      action.href ? h("a", { class: "button", href: action.href }, action.text) : h("button", { type: "button", onclick: action.run }, action.text))) : null)));
  if (focused !== null) [...place.querySelectorAll("button")].find((each) => each.textContent === focused)?.focus();
}

function conditionNotice(items) {
  const { kind, until } = queue.condition ?? {};
  if (!kind || kind === "again" || !items.some((item) => UNSENT.has(item.state) || item.state === "underway")) return null;
  if (kind === "signed_out" || kind === "not_allowed") {
    const text = t(`uploads.conditions.${kind}`);
    return { kind: "warning", text, said: text, actions: [{ text: t("uploads.sign_in"), run: signIn }] };
  }
  const left = Math.ceil((until - Date.now()) / 1000);
  const text = left > 0 ? `${t(`uploads.conditions.${kind}`)} ${t("uploads.next_try", { n: left })}` : `${t(`uploads.conditions.${kind}`)} ${t("uploads.trying")}`;
  return { kind: kind === "disk_full" ? "bad" : "warning", text, said: t(`uploads.conditions.${kind}`), actions: [{ text: t("uploads.try_now"), run: () => queue.go() }] };
}

// Photos that a wrong name keeps: they stay, and go once it is mended.
function heldNotice(items) {
  const held = items.filter((item) => item.state === "held");
  if (!held.length) return null;
  const n = held.length;
  const [{ reason, collection }] = held;
  const suggestion = reason.code === "collection_name" ? mended(collection) : "";
  const sendTo = (name) => {
    byId("upload-collection").value = name;
    checkCollection();
    const error = wrongName(chosen());
    if (error) return byId("upload-collection").focus();
    return queue.again(held.filter((item) => item.state === "held"), { collection: chosen(), person: byId("upload-person").value.trim() });
  };
  return {
    kind: "warning",
    text: `${t("uploads.held", { n })} ${nameInWords(reason, collection)}`,
    actions: [
      ...(suggestion ? [{ text: t("uploads.send_to", { name: suggestion }), run: () => sendTo(suggestion) }] : []),
      { text: t("uploads.send_held", { n }), run: () => sendTo(byId("upload-collection").value) },
    ],
  };
}

function unsafeNotice() {
  const items = queue.unsafe.filter((item) => item.over);
  if (!items.length) return null;
  return { kind: "warning", text: t("uploads.unsafe", { n: items.length, size: bytes(items.reduce((sum, item) => sum + item.size, 0)) }), actions: [] };
}

function foreignNotice() {
  const n = queue.foreign.length;
  if (!n) return null;
  return {
    kind: "warning", text: t("uploads.foreign", { n }),
    actions: [{ text: t("uploads.foreign_send"), run: () => queue.claim(true) }, { text: t("uploads.foreign_remove"), run: () => queue.claim(false) }],
  };
}

function slowNotice(items) {
  const n = items.filter((item) => item.state === "underway").length;
  if (!n) finishedAt = Math.max(finishedAt, Date.now() - SLOW / 2);
  if (!n || Date.now() - finishedAt < SLOW) return null;
  return { kind: "info", text: t("uploads.slow", { n }), actions: [{ text: t("uploads.slow_open"), href: "/jobs" }] };
}
