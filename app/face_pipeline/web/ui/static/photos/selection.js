// Which photos are chosen: by id, with what was known of each, so that they stay chosen when they are scrolled away.

/** `changed()`: another choice. `items()`: all that are loaded, in their order. */
export function selection(items, changed) {
  const chosen = new Map();
  // Where a range begins, and the range that Shift made last.
  let anchor = null;
  let last = [];

  const indexOf = (id) => items().findIndex((item) => item.id === id);
  return {
    has: (id) => chosen.has(id),
    size: () => chosen.size,
    all: () => [...chosen.values()],
    toggle(item) {
      if (!chosen.delete(item.id)) chosen.set(item.id, item);
      anchor = item.id;
      last = [];
      changed();
    },
    /** From where the choice began to `item`; the range before gives way to it. */
    upTo(item, from = null) {
      const begin = anchor !== null && indexOf(anchor) >= 0 ? anchor : (from ?? item).id;
      for (const id of last) chosen.delete(id);
      const [low, high] = [indexOf(begin), indexOf(item.id)].sort((one, other) => one - other);
      const range = items().slice(Math.max(0, low), high + 1);
      last = range.map((each) => each.id).filter((id) => !chosen.has(id));
      for (const each of range) chosen.set(each.id, each);
      anchor = begin;
      changed();
    },
    /** All of these, or none where all are chosen. */
    each(some) {
      const add = some.some((item) => !chosen.has(item.id));
      for (const item of some) {
        if (add) chosen.set(item.id, item);
        else chosen.delete(item.id);
      }
      [anchor, last] = [null, []];
      changed();
    },
    /** What is known of a photo now. */
    learn: (item) => chosen.has(item.id) && chosen.set(item.id, item),
    drop(ids) {
      let some = false;
      for (const id of ids) some = chosen.delete(id) || some;
      if (some) changed();
    },
    clear() {
      if (!chosen.size) return;
      chosen.clear();
      [anchor, last] = [null, []];
      changed();
    },
  };
}
