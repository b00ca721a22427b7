// The photos before and behind one, in the order of a list that need not be loaded.

import { get } from "../lib/api.js";

const PAGE = 100;
// Photos of one moment, as of one upload: so many pages are looked through for the one that is open.
const PAGES = 5;

/**
 * The id of the photo `step` (1: behind, -1: before) from `photo` in the list that `query` (of GET /photos) gives;
 * null: there is none. A list is asked from the photo's moment on, in the direction of the step.
 */
export async function beside(photo, step, query) {
  const towardsOlder = (query.sort === "oldest") === (step < 0);
  // Times come in milliseconds, and are kept more exactly.
  const moment = Date.parse(photo.received_at);
  const bounds = towardsOlder
    ? { sort: "newest", until: earlier(query.until, new Date(moment + 1).toISOString()) }
    : { sort: "oldest", since: later(query.since, new Date(moment).toISOString()) };
  let cursor = null;
  let passed = false;
  let pages = 0;
  do {
    const answer = await get("/photos", { query: { ...query, ...bounds, limit: PAGE, cursor } });
    for (const each of answer.photos) {
      if (passed) return each.id;
      passed = each.id === photo.id;
    }
    cursor = answer.next_cursor;
    pages += 1;
  } while (cursor !== null && pages < PAGES);
  return null;
}

const earlier = (one, other) => (one && one < other ? one : other);
const later = (one, other) => (one && one > other ? one : other);
