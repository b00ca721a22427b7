// A grid of any number of photos. Only what is in view or near it is in the page, so that a hundred thousand photos
// take no more of it than a hundred; everything has its place before its picture comes.

import { rowAt, rowsOf } from "./layout.js";

// Screens above and below the one in view.
const NEAR = 1;
// Screens before the end at which more is asked for.
const AHEAD = 1.5;

/**
 * A grid in `place`, a <ul>. `draw(item)` and `head(day, items)` give {element, refresh(item or items)}, `element` an
 * <li>, `items` a function that gives those of the day; `dayOf(item)`: the text of its heading; `dropped(item)`: it is in the page no more; `wanted()`: the end is near.
 */
export function photoGrid(place, { draw, head, dayOf, dropped = () => {}, wanted = () => {} }) {
  let items = [];
  let places = rowsOf(items, 1000, 16, dayOf);
  // Item id or day -> {element, refresh, item}.
  const shown = new Map();
  let asked = null;

  const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

  function lay() {
    places = rowsOf(items, place.clientWidth, rem(), dayOf);
    place.style.height = `${places.height}px`;
    render();
  }

  // Keys of what belongs into the page now, in order, each with where it stands.
  function wantedNow() {
    const { rows, side, gap } = places;
    const above = -place.getBoundingClientRect().top;
    const first = rowAt(rows, above - NEAR * innerHeight);
    const last = rowAt(rows, above + (1 + NEAR) * innerHeight);
    const chosen = new Set(Array.from({ length: Math.min(last, rows.length - 1) - first + 1 }, (_, at) => first + at));
    // What has the focus stays, however far away.
    const focused = document.activeElement?.closest("[data-id]")?.dataset.id;
    const held = focused && shown.has(focused) ? items.findIndex((item) => item.id === focused) : -1;
    if (held >= 0) chosen.add(rowOf(held));
    return [...chosen].sort((one, other) => one - other).flatMap((number) => {
      const row = rows[number];
      if (row.day !== null) return [{ key: `day ${row.day}`, row, left: 0, width: null }];
      return Array.from({ length: row.count }, (_, at) => ({ key: items[row.first + at].id, item: items[row.first + at], row, left: at * (side + gap), width: side }));
    });
  }

  const rowOf = (index) => {
    const row = rowIndex(index);
    return row < 0 ? 0 : row;
  };
  function rowIndex(index) {
    let [low, high] = [0, places.rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places.rows[middle].first + places.rows[middle].count > index) high = middle;
      else low = middle + 1;
    }
    return low < places.rows.length ? low : -1;
  }

  const ofDay = (row) => {
    const day = row.day;
    let end = row.first;
    while (end < items.length && dayOf(items[end]) === day) end += 1;
    return items.slice(row.first, end);
  };

  function render() {
    asked = null;
    const now = wantedNow();
    const keep = new Set(now.map(({ key }) => key));
    for (const [key, each] of shown) {
      if (keep.has(key)) continue;
      each.element.remove();
      shown.delete(key);
      if (each.item) dropped(each.item);
    }
    let next = place.firstElementChild;
    for (const { key, item, row, left, width } of now) {
      const content = item ?? (() => ofDay(row));
      let each = shown.get(key);
      if (!each) shown.set(key, (each = { ...(item ? draw(item) : head(row.day, content)), item }));
      else if (each.item !== item || !item) {
        each.item = item;
        each.refresh(content);
      }
      const style = each.element.style;
      style.top = `${row.top}px`;
      style.left = `${left}px`;
      style.width = width === null ? "100%" : `${width}px`;
      if (next === each.element) next = next.nextElementSibling;
      else place.insertBefore(each.element, next);
    }
    if (places.height + place.getBoundingClientRect().top < innerHeight * (1 + AHEAD)) wanted();
  }

  const soon = () => (asked ??= requestAnimationFrame(render));
  addEventListener("scroll", soon, { passive: true });
  new ResizeObserver(() => place.clientWidth && lay()).observe(place);

  return {
    /** Shows these photos; those that were shown stay as they are. */
    set(all) {
      items = all;
      lay();
    },
    /** Draws what is in the page anew: something about its looks changed. */
    refresh() {
      for (const [, each] of shown) if (each.item) each.refresh(each.item);
      render();
    },
    columns: () => places.columns,
    /** Index of the item a row above or below, in the same column where there is one. */
    beside(index, step) {
      const at = rowOf(index);
      let other = at + step;
      while (places.rows[other]?.day != null) other += step;
      const row = places.rows[other];
      return row ? Math.min(row.first + index - places.rows[at].first, row.first + row.count - 1) : index;
    },
    /** Brings an item into view; returns its element. */
    reveal(index) {
      const row = places.rows[rowOf(index)];
      const top = place.getBoundingClientRect().top + row.top;
      const [from, to] = visible();
      if (top < from) scrollBy({ top: top - from, behavior: "instant" });
      else if (top + row.height > to) scrollBy({ top: top + row.height - to, behavior: "instant" });
      render();
      return shown.get(items[index].id).element;
    },
    element: (id) => shown.get(id)?.element ?? null,
  };
}

// What of the window the header and the bars leave.
function visible() {
  const style = getComputedStyle(document.documentElement);
  return [parseFloat(style.scrollPaddingTop) || 0, innerHeight - (parseFloat(style.scrollPaddingBottom) || 0)];
}
