// The list of uploads, one for all tabs, and the one tab that sends.
//
// Each page of the service is a document of its own, so the list lives in the browser's database and every tab shows
// it. The tab that holds the lock sends; when it goes to another page or is closed, the next one goes on, with the
// files that are kept or that it has itself. A request keeps its key and its files until it is answered, so that one
// whose answer was lost is made once more and puts nothing in twice.

import { post } from "../lib/api.js";
import { meaning, pair, send, unreadable } from "./send.js";
import { finished, UNSENT } from "./states.js";
import * as store from "./store.js";

const AT_ONCE = 3;
// Small photos travel together: so many, of so many bytes each and in all.
const TOGETHER = 8;
const SMALL = 1024 ** 2;
const TOGETHER_BYTES = 4 * 1024 ** 2;
const LONGEST_WAIT = 60;
const ATTEMPTS = 4;
const SETTLE = 200;
const KEPT_FOR = 24 * 3600 * 1000;
const NAME = "face-uploads";
// Nothing goes on by itself.
const NEEDS_A_KEY = new Set(["signed_out", "not_allowed"]);

export const newId = () =>
  crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");

/**
 * Events: "change" (detail: the items that changed), "removed" (ids), "condition", "kept", "foreign".
 * An item: {id, drop, name, size, at, who, collection, person, state, progress, reason, remark, kept, request, order,
 * batch, photoId, duplicate, faces}.
 */
export class Queue extends EventTarget {
  items = new Map();
  // Of items that this tab was given; others are in the database.
  files = new Map();
  // What keeps everything from being sent: {kind: "offline" | "busy" | "disk_full" | "signed_out" | "not_allowed", until}
  condition = null;
  leads = false;
  // Items of another key, that used this browser before.
  foreign = [];
  #who;
  #canRead;
  #beforeSending;
  #channel = "BroadcastChannel" in window ? new BroadcastChannel(NAME) : null;
  #sending = new Map(); // request -> {controller, items}
  #batches = new Map(); // drop -> promise of its batch
  #backoff = 1;
  #timer = null;
  // id -> what changed: another tab may change something else of it meanwhile.
  #changed = new Map();
  #unsaved = new Map();
  #flushing = null;
  #keeping = Promise.resolve();
  #room = null;
  #keptBytes = 0;

  /** `who`: the name of the key; `beforeSending()`: awaited before the first of some photos is sent. */
  constructor({ who, canRead, beforeSending }) {
    super();
    this.#who = who;
    this.#canRead = canRead;
    this.#beforeSending = beforeSending;
  }

  async start() {
    this.#channel?.addEventListener("message", ({ data }) => this.#hear(data));
    await this.#load();
    this.#channel?.postMessage({ hello: true });
    if (!navigator.locks) return this.#lead();
    return navigator.locks.request(NAME, () => {
      this.#lead();
      // For as long as this document lives.
      return new Promise(() => {});
    });
  }

  async #load() {
    const told = [];
    const old = [];
    this.foreign = [];
    for (const record of await store.all()) {
      if (!UNSENT.has(record.state) && record.at < Date.now() - KEPT_FOR) old.push(record.id);
      else if (record.who === this.#who) told.push(record);
      else if (UNSENT.has(record.state)) this.foreign.push(record);
      else old.push(record.id);
    }
    if (old.length) store.remove(old);
    told.sort((a, b) => a.at - b.at || a.order - b.order);
    this.#merge(told);
    if (this.foreign.length) this.#emit("foreign");
  }

  #merge(records) {
    // A change of what is no longer there has no name.
    const touched = records.filter(({ id, name }) => name !== undefined || this.items.has(id)).map((record) => {
      const item = this.items.get(record.id) ?? {};
      Object.assign(item, record);
      this.items.set(item.id, item);
      return item;
    });
    if (touched.length) this.#emit("change", touched);
  }

  async #lead() {
    this.leads = true;
    await this.flush();
    await this.#load();
    this.#keptBytes = [...this.items.values()].filter((item) => item.kept && UNSENT.has(item.state)).reduce((sum, item) => sum + item.size, 0);
    // What the tab before was about to send goes out under the same keys.
    this.set([...this.items.values()].filter((item) => item.state === "sending"), { state: "waiting", progress: 0 });
    this.#channel?.postMessage({ give: true });
    setTimeout(() => this.pump(), SETTLE);
  }

  #hear({ records, removed, files, give, go, condition, cancel, hello }) {
    if (go) this.go({ who: go, tell: false });
    if (hello && this.leads && this.condition) this.#channel.postMessage({ condition: this.condition });
    if (records) this.#merge(records.filter((record) => record.who === this.#who));
    if (files) for (const [id, file] of files) this.files.set(id, file);
    if (removed) this.#drop(removed);
    if (give) this.#give();
    if (condition !== undefined && !this.leads) this.#setCondition(condition, { tell: false });
    if (cancel && this.leads) this.cancel(cancel);
    if (this.leads && (records || files)) this.pump();
  }

  // The tab that sends now has none of the files that were given to this one.
  #give(ids = [...this.files.keys()].filter((id) => UNSENT.has(this.items.get(id)?.state))) {
    if (ids.length) this.#channel?.postMessage({ files: ids.map((id) => [id, this.files.get(id)]) });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Changes items, here, in the database and in the other tabs. `save`: false for what changes all the time. */
  set(items, values, { save = true } = {}) {
    for (const item of items) {
      Object.assign(item, values);
      for (const changes of save ? [this.#changed, this.#unsaved] : [this.#changed]) {
        changes.set(item.id, { ...changes.get(item.id), id: item.id, who: item.who, ...values });
      }
    }
    if (items.length) this.#emit("change", items);
    this.#flushing ??= setTimeout(() => this.flush(), SETTLE);
  }

  flush() {
    clearTimeout(this.#flushing);
    this.#flushing = null;
    const known = (changes) => [...changes.values()].filter(({ id }) => this.items.has(id));
    const [records, unsaved] = [known(this.#changed), known(this.#unsaved)];
    this.#changed.clear();
    this.#unsaved.clear();
    if (records.length) this.#channel?.postMessage({ records });
    return unsaved.length ? store.save(unsaved) : null;
  }

  /** Takes files in: [{file, reason}], `reason` where it is clear that one is not taken. */
  add(given, { collection, person, held = null }) {
    const drop = newId();
    const at = Date.now();
    const items = given.map(({ file, reason }, order) => ({
      id: newId(), drop, order, at, who: this.#who, name: file.name, size: file.size, collection, person, progress: 0, kept: false,
      state: reason ? "rejected" : held ? "held" : "waiting", reason: reason ?? held, request: null, batch: null, photoId: null,
    }));
    items.forEach((item, index) => {
      this.items.set(item.id, item);
      if (item.state !== "rejected") this.files.set(item.id, given[index].file);
    });
    for (const item of items) this.set([item], { ...item });
    this.#give(items.map((item) => item.id).filter((id) => this.files.has(id)));
    this.#keeping = this.#keeping.then(() => this.#keep(items));
    this.pump();
  }

  async #keep(items) {
    this.#room ??= await store.room();
    for (const item of items) {
      const file = this.files.get(item.id);
      if (!file || !UNSENT.has(item.state)) continue;
      if (this.#keptBytes + item.size > this.#room || !(await store.keep(item.id, file))) {
        this.set([item], { over: true });
        continue;
      }
      if (!this.items.has(item.id) || !UNSENT.has(item.state)) store.forget(item.id);
      else {
        this.#keptBytes += item.size;
        this.set([item], { kept: true });
      }
    }
    this.#emit("kept");
  }

  /** Whether requests are on their way. */
  get sends() {
    return this.#sending.size > 0;
  }

  /** Items that would be lost with this tab. */
  get unsafe() {
    return [...this.items.values()].filter((item) => UNSENT.has(item.state) && item.state !== "lost" && !item.kept && this.files.has(item.id));
  }

  async fileOf(item) {
    const file = this.files.get(item.id) ?? (UNSENT.has(item.state) ? await store.file(item.id) : undefined);
    if (file && !this.files.has(item.id)) this.files.set(item.id, file);
    return file;
  }

  /** Gives items up; one that is on its way may arrive all the same. */
  cancel(ids) {
    if (!this.leads) this.#channel?.postMessage({ cancel: ids });
    const gone = new Set(ids);
    for (const { controller, items } of this.#sending.values()) {
      if (items.some((item) => gone.has(item.id))) controller.abort();
    }
    const requests = new Set(ids.map((id) => this.items.get(id)?.request).filter(Boolean));
    this.#drop(ids);
    store.remove(ids);
    this.#channel?.postMessage({ removed: ids });
    // A request without one of its files is another request.
    this.#anew([...this.items.values()].filter((item) => requests.has(item.request) && item.state === "waiting"));
  }

  #drop(ids) {
    for (const id of ids) {
      this.items.delete(id);
      this.files.delete(id);
    }
    this.#emit("removed", ids);
  }

  // What was perhaps received under the old key is known to the server under the new one.
  #anew(items) {
    this.set(items, { request: null, resent: true });
  }

  /** Sends items again that were given up, with another collection or person where `values` has one. */
  again(items, values = {}) {
    const drop = newId();
    this.set(items, { state: "waiting", progress: 0, reason: null, request: null, attempts: 0, ...("collection" in values ? { drop, batch: null } : {}), ...values });
    this.flush();
    this.pump();
  }

  /** Somebody signed in, the connection is back, or a person wants it now. */
  go({ who = this.#who, tell = true } = {}) {
    if (who !== this.#who) {
      // Somebody signed in over this very list: it is theirs.
      this.#who = who;
      this.set([...this.items.values()], { who });
    }
    if (tell) this.#channel?.postMessage({ go: who });
    this.#setCondition(null, { tell: false });
    this.pump();
  }

  /** Takes over what another key left in this browser, or lets it go. */
  claim(yes) {
    const items = this.foreign.splice(0);
    if (!yes) store.remove(items.map((item) => item.id));
    else {
      for (const item of items) this.items.set(item.id, item);
      for (const item of items) this.set([item], { ...item });
      this.set(items, { who: this.#who });
      this.again(items.filter((item) => item.state === "sending"));
    }
    this.#emit("foreign");
    this.pump();
  }

  /** Nothing can be asked or sent until somebody signs in. */
  signedOut() {
    if (this.condition?.kind !== "signed_out") this.#setCondition({ kind: "signed_out", until: null });
  }

  #setCondition(condition, { tell = true } = {}) {
    clearTimeout(this.#timer);
    this.condition = condition;
    if (tell) this.#channel?.postMessage({ condition });
    if (this.leads && condition?.until) this.#timer = setTimeout(() => this.pump(), Math.max(0, condition.until - Date.now()) + 50);
    this.#emit("condition");
  }

  pump() {
    if (!this.leads) return;
    const blocked = this.condition && (!this.condition.until || this.condition.until > Date.now());
    // One tries whether it goes again.
    const most = this.condition ? 1 : AT_ONCE;
    while (!blocked && this.#sending.size < most) {
      const items = this.#next();
      if (!items.length) return;
      this.#send(items);
    }
  }

  #next() {
    const waiting = [...this.items.values()].filter((item) => item.state === "waiting");
    const [first] = waiting;
    if (!first) return [];
    if (first.request) return waiting.filter((item) => item.request === first.request).sort((a, b) => a.order - b.order);
    const items = [first];
    const names = new Set([first.name]);
    let size = first.size;
    if (first.size <= SMALL && !first.alone) {
      for (const item of waiting) {
        if (items.length === TOGETHER) break;
        const fits = item.size <= SMALL && size + item.size <= TOGETHER_BYTES && !names.has(item.name);
        if (item.request || item.drop !== first.drop || item.alone || !fits || item === first) continue;
        items.push(item);
        names.add(item.name);
        size += item.size;
      }
    }
    return items;
  }

  async #send(items) {
    const request = items[0].request ?? newId();
    const controller = new AbortController();
    this.#sending.set(request, { controller, items });
    this.set(items, { state: "sending", progress: 0, request });
    try {
      const files = await Promise.all(items.map((item) => this.fileOf(item)));
      const lost = files.includes(undefined) ? files.map((file) => !file) : await unreadable(files);
      if (lost.includes(true)) return this.#lose(items, lost);
      const batch = items[0].batch ?? (await this.#batchOf(items[0]));
      // The key is kept before it is used.
      this.set(items, { batch });
      await this.flush();
      await this.#beforeSending();
      const progress = (bytes) => this.#progress(items, bytes);
      const what = { names: items.map((item) => item.name), request, batch, person: items[0].person };
      const answer = await send(files, what, { signal: controller.signal, progress });
      this.#learn(items, answer);
      this.#well();
    } catch (error) {
      await this.#failed(items, error, controller.signal.aborted);
    } finally {
      this.#sending.delete(request);
      this.pump();
    }
    return undefined;
  }

  #progress(items, bytes) {
    let left = bytes;
    for (const item of items) {
      if (this.items.has(item.id)) this.set([item], { progress: item.size ? Math.min(1, Math.max(0, left / item.size)) : 1 }, { save: false });
      left -= item.size;
    }
  }

  // A batch is made of what was dropped together, before the first photo of it is sent: a collection that cannot be
  // is told now.
  #batchOf({ drop, collection }) {
    if (!this.#batches.has(drop)) {
      const made = post("/batches", { collection }, { headers: { "Idempotency-Key": drop }, signIn: false });
      this.#batches.set(drop, made.then(({ id }) => id, (error) => {
        this.#batches.delete(drop);
        error.ofCollection = true;
        throw error;
      }));
    }
    return this.#batches.get(drop);
  }

  #well() {
    this.#backoff = 1;
    if (this.condition) this.#setCondition(null);
  }

  #end(items, values) {
    const here = items.filter((item) => this.items.has(item.id));
    for (const item of here) {
      if (item.kept) this.#keptBytes -= item.size;
      store.forget(item.id);
    }
    this.set(here, { progress: 1, request: null, kept: false, ...values });
  }

  #learn(items, answer) {
    const told = pair(items.map((item) => item.name), answer);
    if (!told) return this.#split(items);
    told.forEach(({ photo, rejected }, index) => {
      const item = items[index];
      if (rejected) this.#end([item], { state: "rejected", reason: { code: rejected.code, message: rejected.message } });
      else this.#end([item], { ...this.#stateOf(photo, item), photoId: photo.id, duplicate: photo.duplicate && !item.resent, remark: photo.remark ?? null, reason: null });
    });
    return this.flush();
  }

  #stateOf({ state, duplicate }, { resent }) {
    if (!this.#canRead) return { state: duplicate && !resent ? "known" : "received" };
    if (duplicate && !resent && state === "done") return { state: "known" };
    // No event will tell of what is over already.
    return { state: "underway", recheck: state === "done" || state === "failed" };
  }

  #lose(items, lost) {
    this.set(items.filter((_, index) => lost[index]), { state: "lost", reason: { code: "file_lost" }, request: null, kept: false });
    const others = items.filter((_, index) => !lost[index]);
    this.#anew(others);
    this.set(others, { state: "waiting" });
  }

  #split(items) {
    this.#anew(items);
    this.set(items, { state: "waiting", alone: true });
  }

  async #failed(all, error, aborted) {
    const items = all.filter((item) => this.items.has(item.id));
    const { waits, seconds, rejected, does } = aborted ? { does: "anew" } : meaning(error, items.length);
    const reason = { code: error.code, message: error.message };
    const waiting = { state: "waiting", progress: 0 };
    if (waits) {
      this.set(items, waiting);
      this.#wait(waits, seconds ?? null);
    } else if (rejected) this.#learn(items, { rejected });
    else if (does === "anew") {
      this.#anew(items);
      this.set(items, waiting);
    } else if (does === "split" && this.#mayTryAgain(items)) this.#split(items);
    else if (does === "batch" && this.#mayTryAgain(items)) {
      this.set(items, { ...waiting, drop: newId(), batch: null, request: null });
    } else if (does === "hold") {
      const others = error.ofCollection ? [...this.items.values()].filter((item) => item.drop === all[0].drop && item.state === "waiting") : [];
      this.set([...items, ...others], { state: "held", reason, request: null });
    } else this.set(items, { state: "stopped", reason, request: null });
    await this.flush();
  }

  #wait(kind, seconds) {
    // Requests that were on their way together fail together.
    if (this.condition?.kind === kind && (this.condition.until ?? Infinity) > Date.now()) return;
    if (seconds === null) this.#backoff = Math.min(LONGEST_WAIT, this.#backoff * 2);
    const until = NEEDS_A_KEY.has(kind) ? null : Date.now() + Math.max(1, seconds ?? this.#backoff) * 1000;
    this.#setCondition({ kind, until });
  }

  #mayTryAgain(items) {
    this.set(items, { attempts: (items[0]?.attempts ?? 0) + 1 });
    return (items[0]?.attempts ?? 0) < ATTEMPTS;
  }

  /** The server has finished a photo; whether this list had it under way. */
  finish(photoId, { state, faces, reason = null }) {
    const items = [...this.items.values()].filter((item) => item.photoId === photoId && item.state === "underway");
    if (items.length) this.set(items, { state: finished(state, faces), faces, reason, recheck: false });
    return items.length > 0;
  }
}
