// The requests on their way. One keeps its key and its files until it is answered, so that one whose answer was lost is
// made once more and puts nothing in twice.

import { post } from "../lib/api.js";
import { newId } from "./list.js";
import { meaning, pair, send, unreadable } from "./send.js";

// Small photos travel together: so many, of so many bytes each and in all.
const TOGETHER = 8;
const SMALL = 1024 ** 2;
const TOGETHER_BYTES = 4 * 1024 ** 2;
const ATTEMPTS = 4;

/** Which of the `waiting` items go out next, in one request. */
export function next(waiting) {
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

export class Requests {
  #queue;
  #canRead;
  #beforeSending;
  #sending = new Map(); // request -> {controller, items}
  #batches = new Map(); // drop -> promise of its batch

  /** `queue`: whose items are sent; `beforeSending()`: awaited before the first of some photos is sent. */
  constructor(queue, { canRead, beforeSending }) {
    this.#queue = queue;
    this.#canRead = canRead;
    this.#beforeSending = beforeSending;
  }

  get number() {
    return this.#sending.size;
  }

  /** Breaks off the requests that any of the items is part of. */
  giveUp(ids) {
    const gone = new Set(ids);
    for (const { controller, items } of this.#sending.values()) {
      if (items.some((item) => gone.has(item.id))) controller.abort();
    }
  }

  /** Sends items in one request, and changes them by what becomes of it. */
  async send(items) {
    const request = items[0].request ?? newId();
    const controller = new AbortController();
    this.#sending.set(request, { controller, items });
    this.#queue.set(items, { state: "sending", progress: 0, request });
    try {
      const files = await Promise.all(items.map((item) => this.#queue.fileOf(item)));
      const lost = files.includes(undefined) ? files.map((file) => !file) : await unreadable(files);
      if (lost.includes(true)) return this.#lose(items, lost);
      const batch = items[0].batch ?? (await this.#batchOf(items[0]));
      // The key is kept before it is used.
      this.#queue.set(items, { batch });
      await this.#queue.flush();
      await this.#beforeSending();
      const progress = (bytes) => this.#progress(items, bytes);
      const what = { names: items.map((item) => item.name), request, batch, person: items[0].person };
      const answer = await send(files, what, { signal: controller.signal, progress });
      this.#learn(items, answer);
      this.#queue.well();
    } catch (error) {
      await this.#failed(items, error, controller.signal.aborted);
    } finally {
      this.#sending.delete(request);
    }
    return undefined;
  }

  #progress(items, bytes) {
    let left = bytes;
    for (const item of items) {
      if (this.#queue.items.has(item.id)) this.#queue.set([item], { progress: item.size ? Math.min(1, Math.max(0, left / item.size)) : 1 }, { save: false });
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

  #learn(items, answer) {
    const told = pair(items.map((item) => item.name), answer);
    if (!told) return this.#split(items);
    told.forEach(({ photo, rejected }, index) => {
      const item = items[index];
      if (rejected) this.#queue.end([item], { state: "rejected", reason: { code: rejected.code, message: rejected.message } });
      else this.#queue.end([item], { ...this.#stateOf(photo, item), photoId: photo.id, duplicate: photo.duplicate && !item.resent, remark: photo.remark ?? null, reason: null });
    });
    return this.#queue.flush();
  }

  #stateOf({ state, duplicate }, { resent }) {
    if (!this.#canRead) return { state: duplicate && !resent ? "known" : "received" };
    if (duplicate && !resent && state === "done") return { state: "known" };
    // No event will tell of what is over already.
    return { state: "underway", recheck: state === "done" || state === "failed" };
  }

  #lose(items, lost) {
    this.#queue.set(items.filter((_, index) => lost[index]), { state: "lost", reason: { code: "file_lost" }, request: null, kept: false });
    const others = items.filter((_, index) => !lost[index]);
    this.#queue.anew(others);
    this.#queue.set(others, { state: "waiting" });
  }

  #split(items) {
    this.#queue.anew(items);
    this.#queue.set(items, { state: "waiting", alone: true });
  }

  async #failed(all, error, aborted) {
    const items = all.filter((item) => this.#queue.items.has(item.id));
    const { waits, seconds, rejected, does } = aborted ? { does: "anew" } : meaning(error, items.length);
    const reason = { code: error.code, message: error.message };
    const waiting = { state: "waiting", progress: 0 };
    if (waits) {
      this.#queue.set(items, waiting);
      this.#queue.wait(waits, seconds ?? null);
    } else if (rejected) this.#learn(items, { rejected });
    else if (does === "anew") {
      this.#queue.anew(items);
      this.#queue.set(items, waiting);
    } else if (does === "split" && this.#mayTryAgain(items)) this.#split(items);
    else if (does === "batch" && this.#mayTryAgain(items)) {
      this.#queue.set(items, { ...waiting, drop: newId(), batch: null, request: null });
    } else if (does === "hold") {
      const others = error.ofCollection ? [...this.#queue.items.values()].filter((item) => item.drop === all[0].drop && item.state === "waiting") : [];
      this.#queue.set([...items, ...others], { state: "held", reason, request: null });
    } else this.#queue.set(items, { state: "stopped", reason, request: null });
    await this.#queue.flush();
  }

  #mayTryAgain(items) {
    this.#queue.set(items, { attempts: (items[0]?.attempts ?? 0) + 1 });
    return (items[0]?.attempts ?? 0) < ATTEMPTS;
  }
}
