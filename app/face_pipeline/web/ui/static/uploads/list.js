// The list of uploads: one for all tabs. Each page of the service is a document of its own, so the list and the files
// that are not sent yet lie in the browser's database, and what one tab changes the others are told.

import { finished, UNSENT } from "./states.js";
import * as store from "./store.js";

const SETTLE = 200;
const KEPT_FOR = 24 * 3600 * 1000;
const NAME = "face-uploads";

export const newId = () =>
  crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");

/**
 * Events: "change" (detail: the items that changed), "removed" (ids), "kept", "foreign".
 * An item: {id, drop, name, size, at, who, collection, person, state, progress, reason, remark, kept, request, order,
 * batch, photoId, duplicate, faces}.
 */
export class List extends EventTarget {
  items = new Map();
  // Of items that this tab was given; others are in the database.
  files = new Map();
  // Items of another key, that used this browser before.
  foreign = [];
  #who;
  #channel = "BroadcastChannel" in window ? new BroadcastChannel(NAME) : null;
  // id -> what changed: another tab may change something else of it meanwhile.
  #changed = new Map();
  #unsaved = new Map();
  #flushing = null;
  #keeping = Promise.resolve();
  #room = null;
  #keptBytes = 0;

  /** `who`: the name of the key. */
  constructor(who) {
    super();
    this.#who = who;
  }

  get who() {
    return this.#who;
  }

  /** Somebody signed in over this very list: it is theirs. */
  belongTo(who) {
    if (who === this.#who) return;
    this.#who = who;
    this.set([...this.items.values()], { who });
  }

  /** Calls `hear(message)` for what other tabs tell. */
  listen(hear) {
    this.#channel?.addEventListener("message", ({ data }) => hear(data));
  }

  /** Tells the other tabs. */
  tell(message) {
    this.#channel?.postMessage(message);
  }

  /** Takes over what another tab told of the list. */
  take({ records, files, removed, give }) {
    if (records) this.#merge(records.filter((record) => record.who === this.#who));
    // Chromium sends no file of the disk for a tab that was not given it itself, but a file around it.
    if (files) for (const [id, file] of files) this.files.set(id, new File([file], file.name, { type: file.type, lastModified: file.lastModified }));
    if (removed) this.#drop(removed);
    if (give) this.#give();
  }

  /** Reads what is kept in the browser. */
  async load() {
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
    if (this.foreign.length) this.emit("foreign");
  }

  #merge(records) {
    // A change of what is no longer there has no name.
    const touched = records.filter(({ id, name }) => name !== undefined || this.items.has(id)).map((record) => {
      const item = this.items.get(record.id) ?? {};
      Object.assign(item, record);
      this.items.set(item.id, item);
      return item;
    });
    if (touched.length) this.emit("change", touched);
  }

  /** Counts the bytes of the files that are kept, of all tabs. */
  count() {
    this.#keptBytes = [...this.items.values()].filter((item) => item.kept && UNSENT.has(item.state)).reduce((sum, item) => sum + item.size, 0);
  }

  // The tab that sends now has none of the files that were given to this one.
  #give(ids = [...this.files.keys()].filter((id) => UNSENT.has(this.items.get(id)?.state))) {
    if (ids.length) this.tell({ files: ids.map((id) => [id, this.files.get(id)]) });
  }

  emit(type, detail) {
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
    if (items.length) this.emit("change", items);
    this.#flushing ??= setTimeout(() => this.flush(), SETTLE);
  }

  flush() {
    clearTimeout(this.#flushing);
    this.#flushing = null;
    const known = (changes) => [...changes.values()].filter(({ id }) => this.items.has(id));
    const [records, unsaved] = [known(this.#changed), known(this.#unsaved)];
    this.#changed.clear();
    this.#unsaved.clear();
    if (records.length) this.tell({ records });
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
    this.emit("kept");
  }

  /** Items that would be lost with this tab. */
  get unsafe() {
    return [...this.items.values()].filter((item) => UNSENT.has(item.state) && item.state !== "lost" && !item.kept && this.files.has(item.id));
  }

  /** The file, or undefined where it is lost. */
  async fileOf(item) {
    const file = this.files.get(item.id) ?? (UNSENT.has(item.state) ? await store.file(item.id) : undefined);
    if (file && !this.files.has(item.id)) this.files.set(item.id, file);
    return file;
  }

  #drop(ids) {
    for (const id of ids) {
      this.items.delete(id);
      this.files.delete(id);
    }
    this.emit("removed", ids);
  }

  /** Takes items off the list, with their files. */
  remove(ids) {
    this.#drop(ids);
    store.remove(ids);
    this.tell({ removed: ids });
  }

  /** Another request: what was perhaps received under the old key is known to the server under the new one. */
  anew(items) {
    this.set(items, { request: null, resent: true });
  }

  /** Nothing of the items is to be sent any more: their files are let go. */
  end(items, values) {
    const here = items.filter((item) => this.items.has(item.id));
    for (const item of here) {
      if (item.kept) this.#keptBytes -= item.size;
      store.forget(item.id);
    }
    this.set(here, { progress: 1, request: null, kept: false, ...values });
  }

  /** Takes over what another key left in this browser, or lets it go; gives what was taken over. */
  claim(yes) {
    const items = this.foreign.splice(0);
    if (!yes) store.remove(items.map((item) => item.id));
    else {
      for (const item of items) this.items.set(item.id, item);
      for (const item of items) this.set([item], { ...item });
      this.set(items, { who: this.#who });
    }
    this.emit("foreign");
    return yes ? items : [];
  }

  /** The server has finished a photo; whether this list had it under way. */
  finish(photoId, { state, faces, reason = null }) {
    const items = [...this.items.values()].filter((item) => item.photoId === photoId && item.state === "underway");
    if (items.length) this.set(items, { state: finished(state, faces), faces, reason, recheck: false });
    return items.length > 0;
  }
}
