// Who is this? A photo, or a face that is stored, and whom it is like. Photos stay in this page's memory.

import { get, isAbort, pictureUrl, uprightUrl } from "../lib/api.js";
import { collections } from "../lib/collection.js";
import { byId, h, put } from "../lib/dom.js";
import { dropZone } from "../lib/drop.js";
import { shortcut } from "../lib/keys.js";
import { fail, tell } from "../lib/messages.js";
import { empty, failed } from "../lib/states.js";
import { t } from "../lib/texts.js";
import { time } from "../lib/time.js";
import { compareWith, comparesPasted, startCompare } from "./search/compare.js";
import { look } from "./search/looking.js";
import { mayName, nameFace } from "./search/naming.js";
import { forget, pictureOf } from "./search/photo.js";
import { failure, found, looking } from "./search/results.js";
import * as settings from "./search/settings.js";
import { choosePhoto, pastedPhoto, startSources } from "./search/sources.js";

// Searches of this visit that Back leads to, with their photos.
const KEPT = 10;
const kept = new Map();
const shown = { key: null, subject: null, answer: null, chosen: 0 };
const result = byId("search-result");
let request = null;
let all = null; // number of collections, once it is known

function start() {
  settings.start(again);
  dropZone(byId("search-zone"), byId("search-file"), take);
  startSources(byId("search-zone"), (file) => take([file]));
  startCompare();
  for (const tab of byId("search-tabs").children) tab.addEventListener("click", () => tab.getAttribute("aria-selected") === "true" || goTo(tab.dataset.mode));
  byId("search-tabs").addEventListener("keydown", ({ key }) => {
    if (key !== "ArrowLeft" && key !== "ArrowRight") return;
    goTo(mode() === "find" ? "compare" : "find");
    byId(`tab-${mode()}`).focus();
  });
  document.addEventListener("paste", paste);
  shortcut("o", t("search.keys.choose"), () => choosePhoto(byId(mode())), {});
  addEventListener("popstate", () => location.pathname === "/search" && enter(history.state));
  // The viewer puts the page's address back when it closes; it does not know what belongs to it.
  document.addEventListener("close", () => setTimeout(stamp), true);
  collections().then((names) => (all = names.length), () => {});
  enter(history.state);
}

const mode = () => (new URLSearchParams(location.search).has("compare") ? "compare" : "find");

function showMode() {
  for (const tab of byId("search-tabs").children) {
    const chosen = tab.dataset.mode === mode();
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    byId(tab.dataset.mode).hidden = !chosen;
  }
}

function goTo(wanted) {
  if (wanted === "compare") history.pushState({ search: "compare" }, "", "/search?compare=1");
  else history.pushState(stateOf(), "", addressOf());
  showMode();
}

const addressOf = () => settings.query(shown.subject?.face ? { face: shown.subject.face.id } : {});

// What the browser keeps of this page for Back, beside its memory: what was found, and nothing of the photo.
const stateOf = () => ({ search: shown.key, ...(shown.subject?.file && shown.answer ? { found: shown.answer, at: shown.at } : {}) });

function stamp() {
  if (location.pathname === "/search" && history.state === null) history.replaceState(mode() === "compare" ? { search: "compare" } : stateOf(), "");
}

/** Shows what the address and the state of the history say. */
function enter(state) {
  showMode();
  const asked = new URLSearchParams(location.search);
  if (mode() === "compare") return compareWith(asked);
  const face = asked.get("face");
  if (state && state.search === shown.key && shown.key) return undefined;
  if (!state && shown.key && (face ?? null) === (shown.subject?.face?.id ?? null)) return stamp();
  request?.abort();
  settings.restore(location.search);
  const before = kept.get(state?.search);
  if (before) {
    Object.assign(shown, before);
    return before.answer ? draw() : run();
  }
  if (face) return takeFace(face);
  Object.assign(shown, { key: state?.search ?? keyOf(), subject: null, answer: null, chosen: 0 });
  if (state?.found) {
    Object.assign(shown, { subject: { gone: time(state.at).textContent }, answer: state.found });
    return draw();
  }
  history.replaceState(stateOf(), "");
  byId("find").dataset.has = "";
  return put(result);
}

let number = 0;
const keyOf = () => `${Date.now()}-${(number += 1)}`;

/** A new search: an entry of its own in the history. */
function begin(subject, push = true) {
  Object.assign(shown, { key: keyOf(), subject, answer: null, chosen: 0 });
  keep();
  if (push) history.pushState(stateOf(), "", addressOf());
  else history.replaceState(stateOf(), "");
  showMode();
  return run(true);
}

function keep() {
  kept.set(shown.key, { ...shown });
  if (kept.size <= KEPT) return;
  const [[oldest, { subject }]] = kept;
  kept.delete(oldest);
  forget(subject);
}

// Closes what was said about the photo before.
let refused = () => {};

async function take(files) {
  const [file] = files;
  refused();
  if (files.length > 1) tell(t("search.first_of", { n: files.length }));
  byId("search-live").textContent = t("search.searching");
  try {
    await begin(await pictureOf(file));
  } catch (error) {
    refuse(error);
  }
}

function refuse(error) {
  byId("search-live").textContent = "";
  refused = fail(error);
}

async function paste(event) {
  if (document.querySelector("dialog:modal") || event.target.closest?.("input, textarea")) return;
  const file = await pastedPhoto(event);
  if (!file) return;
  if (mode() === "compare") comparesPasted(file);
  else take([file]);
}

/** A face that is stored, with the photo it is on. */
async function takeFace(id) {
  Object.assign(shown, { key: history.state?.search ?? keyOf(), subject: null, answer: null, chosen: 0 });
  byId("find").dataset.has = "result";
  put(result, h("p", { class: "status loading", role: "status" }, t("frame.loading")));
  try {
    await begin(await subjectOf(await get(`/faces/${encodeURIComponent(id)}`)), false);
  } catch (error) {
    if (isAbort(error)) return;
    const gone = error.status === 404 || error.status === 400;
    put(result, gone ? empty({ icon: "search", title: t("search.face_gone"), text: t("search.face_gone_help") }) : failed(error, () => takeFace(id)));
  }
}

async function subjectOf(face) {
  if (!face.photo_id) return { face };
  const photo = await get(`/photos/${face.photo_id}`);
  return {
    face, size: photo.width ? photo : null, address: pictureUrl(photo), another: () => uprightUrl(photo.id),
    boxes: photo.faces, at: photo.faces.findIndex((each) => each.id === face.id),
  };
}

/** The same once more, as somebody chose other settings. */
function again() {
  if (mode() === "compare") return;
  history.replaceState(history.state, "", addressOf());
  if (shown.subject && !shown.subject.gone) run();
  else if (shown.subject?.gone) tell(t("search.gone_help"));
}

async function run(fresh = false) {
  request?.abort();
  const mine = (request = new AbortController());
  const { subject, key } = shown;
  byId("find").dataset.has = "result";
  result.setAttribute("aria-busy", "true");
  say(t("search.searching"));
  if (fresh || !shown.answer) put(result, looking(subject));
  if (fresh) toResult();
  const told = (answer) => {
    if (shown.key !== key || mine.signal.aborted) return;
    Object.assign(shown, { answer, at: new Date().toISOString() });
    draw();
  };
  try {
    told(await look(subject, await settings.places(), settings.values(), { signal: mine.signal, tell: told }));
    settings.learn(shown.answer);
    keep();
    remember();
  } catch (error) {
    if (isAbort(error) || mine.signal.aborted) return;
    put(result, failure(subject, error, () => run(true)));
    say("");
  }
  result.removeAttribute("aria-busy");
}

function remember() {
  if (location.pathname !== "/search" || history.state?.search !== shown.key) return;
  try {
    history.replaceState(stateOf(), "");
  } catch {
    // A crowd on the photo: too much for the browser to keep. Back within this page still knows it.
  }
}

// On a phone what was found lies under the fields.
function toResult() {
  if (result.getBoundingClientRect().top > innerHeight * 0.6) result.scrollIntoView({ block: "start" });
}

function draw() {
  const { subject, answer } = shown;
  byId("find").dataset.has = "result";
  result.removeAttribute("aria-busy");
  put(result, found(subject, answer, shown.chosen, {
    settings: settings.values(), all,
    choose: (index) => {
      shown.chosen = index;
      if (kept.has(shown.key)) kept.get(shown.key).chosen = index;
    },
    pick: (index) => subject.boxes[index].id !== subject.face.id && begin({ ...subject, face: { ...subject.face, ...subject.boxes[index] }, at: index }),
    weaker: (value) => settings.setThreshold(Math.floor(value * 100) / 100),
    everywhere: () => settings.lookEverywhere().catch(fail),
    anyQuality: () => settings.setMinQuality(0),
    name: mayName(subject, answer.faces.length) ? (index) => nameFace(subject, answer, index, named) : null,
  }));
  const recognised = answer.faces.filter((face) => face.matches.length).length;
  say(`${t("words.faces", { n: answer.faces.length })}. ${recognised ? t("search.recognised", { n: recognised }) : t("search.nobody")}`);
}

// The picture's note says whose a stored face is now.
function named(subject) {
  if (shown.subject === subject) draw();
}

function say(text) {
  byId("search-live").textContent = text;
}

start();
