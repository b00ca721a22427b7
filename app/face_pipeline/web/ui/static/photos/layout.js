// Where each photo of a grid stands, in pixels: rows of square pictures under the heading of their day.

// In rem, as the style has them.
const CAPTION = 3;
const HEADING = 3.5;
const SIZES = [
  // From this width of the grid on: least width of a picture, space between two, space below a row.
  { from: 34, least: 10.5, gap: 1, below: 1.25 },
  { from: 0, least: 8.5, gap: 0.75, below: 1 },
];

/**
 * Rows of `items` in a grid `width` pixels wide, `rem` pixels of the font. `dayOf(item)`: items of one text stand
 * under one heading. Returns {rows: [{day, top, height} or {first, count, top, height}], columns, side, gap, height}.
 */
export function rowsOf(items, width, rem, dayOf) {
  const { least, gap, below } = SIZES.find((size) => width >= size.from * rem);
  const columns = Math.max(2, Math.floor((width + gap * rem) / ((least + gap) * rem)));
  const side = (width - (columns - 1) * gap * rem) / columns;
  const height = side + CAPTION * rem + below * rem;
  const rows = [];
  let top = 0;
  let day = null;
  for (let at = 0; at < items.length;) {
    const its = dayOf(items[at]);
    if (its !== day) {
      day = its;
      rows.push({ day, first: at, count: 0, top, height: HEADING * rem });
      top += HEADING * rem;
    }
    let count = 1;
    while (count < columns && at + count < items.length && dayOf(items[at + count]) === day) count += 1;
    rows.push({ day: null, first: at, count, top, height });
    top += height;
    at += count;
  }
  return { rows, columns, side, gap: gap * rem, height: top };
}

/** Index of the first row that ends below `y`; the number of rows where none does. */
export function rowAt(rows, y) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].top + rows[middle].height > y) high = middle;
    else low = middle + 1;
  }
  return low;
}
