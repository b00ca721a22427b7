// The upload queue: three photos at a time; what fails for a passing reason is sent again.

import { upload } from "./send.js";

const AT_ONCE = 3;
const ATTEMPTS = 6;
const LONGEST_WAIT = 60;

export class UploadQueue {
  #waiting = [];
  #active = 0;
  #pausedUntil = 0;
  #timer = null;
  #change;

  /** `change(item)` is called whenever an item's state, progress or note changes. */
  constructor(change) {
    this.#change = change;
  }

  add(items) {
    for (const item of items) Object.assign(item, { state: "waiting", progress: 0, attempts: 0, reason: null, wait: 0 });
    this.#waiting.push(...items);
    items.forEach(this.#change);
    this.#next();
  }

  get busy() {
    return this.#active > 0 || this.#waiting.length > 0;
  }

  /** Nothing more can be sent; what waits is given back to the person. */
  stop(reason) {
    for (const item of this.#waiting.splice(0)) this.#set(item, { state: "stopped", reason });
  }

  #next() {
    clearTimeout(this.#timer);
    const wait = this.#pausedUntil - Date.now();
    if (wait > 0) {
      this.#timer = setTimeout(() => this.#next(), wait);
      return;
    }
    while (this.#active < AT_ONCE && this.#waiting.length > 0) this.#send(this.#waiting.shift());
  }

  async #send(item) {
    this.#active += 1;
    this.#set(item, { state: "uploading", progress: 0, attempts: item.attempts + 1, reason: null });
    try {
      const answer = await upload(item.file, item.form, (progress) => this.#set(item, { progress }));
      const [photo] = answer.photos;
      this.#set(item, { state: photo.state, photoId: photo.id, duplicate: photo.duplicate, remark: photo.remark, progress: 1 });
    } catch (error) {
      this.#failed(item, error);
    }
    this.#active -= 1;
    this.#next();
  }

  #failed(item, error) {
    const rejected = error.details?.rejected?.[0];
    if (rejected || error.status === 413) {
      this.#set(item, { state: "rejected", reason: rejected ?? error });
    } else if (error.temporary && item.attempts < ATTEMPTS) {
      const wait = Math.min(LONGEST_WAIT, error.retryAfter ?? 2 ** item.attempts);
      // The server is as unwell for the other photos: all wait.
      this.#pausedUntil = Math.max(this.#pausedUntil, Date.now() + wait * 1000);
      this.#waiting.unshift(item);
      this.#set(item, { state: "retrying", wait, reason: error });
    } else {
      this.#set(item, { state: "stopped", reason: error });
    }
  }

  #set(item, values) {
    Object.assign(item, values);
    this.#change(item);
  }
}
