// Which photos are shown. It stands in the address, so that a link and Back show the same.

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const DAY = /^\d{4}-\d{2}-\d{2}$/;
const REASON = /^[a-z][a-z0-9_]{0,99}$/;
const one = (...values) => (value) => values.includes(value);

/** Names as in the address, each with what it may be; what is not stays out. `from` and `to` are days, both included. */
const FIELDS = {
  filename: (value) => value.length <= 200,
  state: one("received", "queued", "processing", "done", "failed"),
  reason: (value) => REASON.test(value),
  faces: one("some", "none", "unknown"),
  person_id: (value) => UUID.test(value),
  batch: (value) => UUID.test(value),
  from: (value) => DAY.test(value) && dayAt(value) !== null,
  to: (value) => DAY.test(value) && dayAt(value) !== null,
  sort: one("oldest"),
};
const NAMES = Object.keys(FIELDS);

/** The filter of an address' query: {filename, state, reason, faces, person_id, batch, from, to, sort}, "" for any. */
export function read(search) {
  const given = new URLSearchParams(search);
  return Object.fromEntries(NAMES.map((name) => {
    const value = given.get(name) ?? "";
    return [name, value && FIELDS[name](value) ? value : ""];
  }));
}

/** The collection that an address names, "" for all. */
export const collectionOf = (search) => new URLSearchParams(search).get("collection") ?? "";

/** What is behind "?" in the address of this filter, with the "?"; "" where nothing is filtered. */
export function written(filter, collection) {
  const given = new URLSearchParams([...(collection ? [["collection", collection]] : []), ...NAMES.filter((name) => filter[name]).map((name) => [name, filter[name]])]);
  return given.size ? `?${given}` : "";
}

/** The same as parameters of GET /photos. */
export const queryOf = ({ from, to, ...filter }, collection) => ({
  ...filter, collection, since: from && dayAt(from), until: to && dayAt(to, 1),
});

/** How many fields are set; the order hides nothing. */
export const active = (filter) => NAMES.filter((name) => name !== "sort" && filter[name]).length;

export const same = (one, other) => NAMES.every((name) => one[name] === other[name]);

// The moment a day begins where the browser is, or one `later`; null: there is no such day.
function dayAt(day, later = 0) {
  const [year, month, date] = day.split("-").map(Number);
  const begins = new Date(year, month - 1, date + later);
  return Number.isNaN(begins.getTime()) || year < 1 ? null : begins.toISOString();
}
