// Lists with a cursor: more comes when the end comes into view, or by a button.

import { get, isAbort } from "./api.js";
import { h, put } from "./dom.js";
import { failed, skeleton } from "./states.js";
import { t } from "./texts.js";

const PATIENCE = 300;

/**
 * A list in `place` (a <ul>, <ol> or <tbody>) of what GET `path` answers.
 *
 * `query()`: parameters as of api.get, asked at each load; `items(answer)`: the things of a page; `draw(item)`: the
 * element of one; `empty()`: what is shown where there is none; `kind`: of the skeleton; `limit`: page size;
 * `loaded(answer, first)`: called after each page.
 * Returns {reload(), more(), count(), stop()}.
 */
export function pagedList({ place, path, query = () => ({}), items, draw, empty, kind = "row", limit = 50, loaded = () => {} }) {
  const status = h("div", { class: "list-status" });
  const button = h("button", { type: "button", hidden: true, onclick: () => more(true) }, t("frame.load_more"));
  const foot = h("p", { class: "more" }, button);
  (place.closest("table") ?? place).after(status, foot);
  let cursor = null;
  let request = null;
  let busy = false;

  async function load(first, focus = false) {
    request?.abort();
    const mine = (request = new AbortController());
    busy = true;
    if (first) cursor = null;
    const timer = setTimeout(() => put(status, h("p", { class: "visually-hidden", role: "status" }, t("frame.loading")), skeleton(kind, first ? 6 : 2)), PATIENCE);
    if (first) place.setAttribute("aria-busy", "true");
    try {
      const answer = await get(path, { query: { ...query(), limit, cursor }, signal: mine.signal });
      const made = items(answer).map(draw);
      if (first) place.replaceChildren(...made);
      else place.append(...made);
      cursor = answer.next_cursor;
      put(status, place.children.length ? null : empty());
      if (focus) made[0]?.querySelector("a, button, input")?.focus();
      loaded(answer, first);
    } catch (error) {
      if (mine !== request || isAbort(error)) return;
      if (first) place.replaceChildren();
      put(status, failed(error, () => load(first)));
      cursor = null;
    } finally {
      clearTimeout(timer);
      if (mine === request) {
        status.querySelector(".skeletons")?.remove();
        place.removeAttribute("aria-busy");
        button.hidden = cursor === null;
        busy = false;
        // The end may still be in view.
        if (cursor !== null) {
          seen.unobserve(foot);
          seen.observe(foot);
        }
      }
    }
  }

  const more = (focus = false) => (busy || cursor === null ? Promise.resolve() : load(false, focus));
  const seen = new IntersectionObserver(([entry]) => entry.isIntersecting && more(), { rootMargin: "600px" });
  return {
    reload: () => load(true),
    more,
    count: () => place.children.length,
    stop: () => {
      request?.abort();
      seen.disconnect();
    },
  };
}
