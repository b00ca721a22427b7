// What GET /photos answers, page by page.

import { get } from "../lib/api.js";

const FIRST = 48;
const FURTHER = 96;

// What the grid and what is done with photos know of one; a hundred thousand of them are kept.
const part = ({ id, collection, filename, state, reason, person, received_at, thumbnail, face_count }) =>
  ({ id, collection, filename, state, reason, person, received_at, thumbnail, face_count });

/** `query()`: parameters of the call. */
export function photoList(query) {
  let items = [];
  let cursor = null;
  let pages = 0;
  let request = null;
  let coming = null;

  const ask = (limit, after) => get("/photos", { query: { ...query(), limit, cursor: after }, signal: request.signal });
  return {
    items: () => items,
    pages: () => pages,
    ended: () => cursor === null,
    clear: () => ([items, cursor] = [[], null]),
    /** Begins anew. Resolves to whether it is what was asked for last. */
    async reload() {
      request?.abort();
      const mine = (request = new AbortController());
      coming = null;
      const answer = await ask(FIRST, null);
      if (mine !== request) return false;
      [items, cursor, pages] = [answer.photos.map(part), answer.next_cursor, 1];
      return true;
    },
    /** The next page. Resolves to whether there was one; one call at a time. */
    more() {
      if (cursor === null) return Promise.resolve(false);
      coming ??= (async () => {
        const mine = request;
        const answer = await ask(FURTHER, cursor);
        if (mine !== request) return false;
        const known = new Set(items.map((each) => each.id));
        items = [...items, ...answer.photos.filter((each) => !known.has(each.id)).map(part)];
        [cursor, pages] = [answer.next_cursor, pages + 1];
        return true;
      })().finally(() => (coming = null));
      return coming;
    },
    /** Changes these; returns them as they are now. */
    change(ids, news) {
      const changed = [];
      const these = new Set(ids);
      items = items.map((each) => {
        if (!these.has(each.id)) return each;
        const now = part({ ...each, ...news, id: each.id, received_at: each.received_at });
        changed.push(now);
        return now;
      });
      return changed;
    },
    drop(ids) {
      const out = new Set(ids);
      items = items.filter((each) => !out.has(each.id));
    },
  };
}
