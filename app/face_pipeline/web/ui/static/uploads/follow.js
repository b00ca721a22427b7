// What becomes of photos that are sent: one question for all of them (what happened since?), which is 50 bytes of
// JSON when the answer is nothing; slower while nothing happens, none while the page is hidden.

import { get } from "../lib/api.js";
import { has } from "../lib/texts.js";
import { note, noted } from "./store.js";

const FASTEST = 1000;
const SLOWEST = 15_000;
const SLOWDOWN = 1.4;
const PAGE = 200;
// Of events; behind so many it is less to look at the photos themselves.
const PAGES = 5;
const FEW = 4;
// So often nothing happened: perhaps a photo was deleted, of which no event tells.
const QUIET = 20;
const CURSOR = "cursor";

export class Follower {
  #queue;
  #cursor = null;
  #loaded = null;
  #marked = null;
  #timer = null;
  #pause = FASTEST;
  #asking = false;
  #quiet = 0;
  #first = true;
  // Events of photos whose upload is not answered yet: a worker may be faster than the answer.
  #early = new Map();

  constructor(queue) {
    this.#queue = queue;
    this.#loaded = noted(CURSOR).then((cursor) => (this.#cursor = cursor ?? null));
    document.addEventListener("visibilitychange", () => this.soon());
  }

  get #open() {
    return [...this.#queue.items.values()].filter((item) => item.state === "underway");
  }

  /** Notes where the events are before the first of some photos goes out, so that none of its events is missed. */
  mark() {
    return (this.#marked ??= this.#mark());
  }

  async #mark() {
    await this.#loaded;
    if (this.#open.length && this.#cursor) return;
    try {
      await this.#take((await get("/events", { query: { last: 0 }, signIn: false })).next_cursor);
    } catch {
      this.#cursor = null;
    }
  }

  #take(cursor) {
    this.#cursor = cursor;
    return note(CURSOR, cursor);
  }

  /** Something may happen now. */
  soon() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#pause = FASTEST;
    this.#schedule();
  }

  /** Photos are under way; the next question stands if there is one already. */
  more() {
    for (const item of this.#open) {
      const event = this.#early.get(item.photoId);
      if (event) this.#hear(event);
    }
    if (this.#pause > FASTEST) this.soon();
    else this.#schedule();
  }

  #schedule() {
    if (!this.#queue.sends) this.#early.clear();
    if (!this.#open.length && !this.#queue.sends) this.#marked = null;
    if (this.#queue.condition?.kind === "signed_out") return;
    if (this.#asking || this.#timer !== null || document.hidden || !this.#open.length) return;
    this.#timer = setTimeout(() => this.#ask(), this.#pause);
  }

  async #ask() {
    this.#asking = true;
    this.#timer = null;
    try {
      await this.#loaded;
      const changed = await this.#news();
      this.#quiet = changed ? 0 : this.#quiet + 1;
      if (this.#quiet === QUIET) {
        this.#quiet = 0;
        await this.#look(this.#open);
      }
      this.#pause = changed ? FASTEST : Math.min(SLOWEST, this.#pause * SLOWDOWN);
    } catch (error) {
      if (error.status === 400) this.#cursor = null;
      if (error.status === 401) this.#queue.signedOut();
      this.#pause = Math.max(SLOWEST / 2, (error.retryAfter ?? 0) * 1000);
    }
    this.#asking = false;
    this.#schedule();
  }

  async #news() {
    // The page before this one may have left after it kept the cursor, and before it kept what it had heard.
    let changed = await this.#look(this.#first ? this.#open : this.#open.filter((item) => item.recheck));
    this.#first = false;
    if (!this.#cursor) return (await this.#lookAtAll()) || changed;
    const names = new Set(this.#open.map((item) => item.collection));
    const collection = names.size === 1 ? [...names][0] : "";
    for (let page = 0; this.#open.length; page += 1) {
      if (page === PAGES) return this.#lookAtAll();
      const answer = await get("/events", { query: { after: this.#cursor, limit: PAGE, collection }, signIn: false });
      for (const event of answer.events) changed = this.#hear(event) || changed;
      // What became of the photos is kept first: who leaves the page in between asks for the same events again.
      await this.#queue.flush();
      await this.#take(answer.next_cursor);
      if (answer.events.length < PAGE) break;
    }
    return changed;
  }

  #hear(event) {
    const { kind, photo_id: id, face_count: faces, reason_code: code } = event;
    if (kind !== "photo.done" && kind !== "photo.failed") return false;
    if (this.#queue.sends) this.#early.set(id, event);
    if (kind === "photo.done") return this.#queue.finish(id, { state: "done", faces, reason: code ? { code } : null });
    if (has(`words.reasons.${code}`)) return this.#queue.finish(id, { state: "failed", faces, reason: { code } });
    // The photo has the reason in words.
    const items = this.#open.filter((item) => item.photoId === id);
    this.#queue.set(items, { recheck: true });
    return items.length > 0;
  }

  async #lookAtAll() {
    const { next_cursor: cursor } = await get("/events", { query: { last: 0 }, signIn: false });
    const changed = await this.#look(this.#open);
    await this.#queue.flush();
    await this.#take(cursor);
    return changed;
  }

  // Photos themselves: one by one, or many by their batch.
  async #look(items) {
    if (items.length <= FEW) return (await Promise.all([...new Set(items.map((item) => item.photoId))].map((id) => this.#lookAt(id)))).some(Boolean);
    let changed = false;
    const missing = new Set(items.map((item) => item.photoId));
    for (const batch of new Set(items.map((item) => item.batch))) {
      let cursor = null;
      do {
        const answer = await get("/photos", { query: { batch, limit: PAGE, cursor }, signIn: false });
        for (const photo of answer.photos) {
          missing.delete(photo.id);
          changed = this.#saw(photo, photo.face_count) || changed;
        }
        cursor = answer.next_cursor;
      } while (cursor);
    }
    // Of an upload before; the rest is looked at the next time.
    for (const id of [...missing].slice(0, FEW)) changed = (await this.#lookAt(id)) || changed;
    return changed;
  }

  async #lookAt(id) {
    try {
      const photo = await get(`/photos/${id}`, { signIn: false });
      return this.#saw(photo, photo.faces.length);
    } catch (error) {
      if (error.status !== 404) throw error;
      return this.#queue.finish(id, { state: "failed", reason: { code: "photo_gone" } });
    }
  }

  #saw({ id, state, reason }, faces) {
    return (state === "done" || state === "failed") && this.#queue.finish(id, { state, faces, reason });
  }
}
