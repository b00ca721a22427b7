// Photos: the list that the filter leaves, in a grid, and what is done with those that are chosen.

import { get, isAbort } from "../lib/api.js";
import { choose, current, onCollection } from "../lib/collection.js";
import { byId, h, put } from "../lib/dom.js";
import { empty, failed, skeleton } from "../lib/states.js";
import { t } from "../lib/texts.js";
import { day } from "../lib/time.js";
import { walkThrough } from "../lib/viewer.js";
import { watch } from "../lib/watch.js";
import { FINISHED } from "../lib/words.js";
import { can } from "../lib/scopes.js";
import { drawCard, drawDay } from "../photos/card.js";
import { active, collectionOf, queryOf } from "../photos/filter.js";
import { filterForm } from "../photos/form.js";
import { photoGrid } from "../photos/grid.js";
import { photoList } from "../photos/list.js";
import { moveWithKeys } from "../photos/keyboard.js";
import { selection } from "../photos/selection.js";
import { chosenBar } from "../photos/bar.js";

const PATIENCE = 300;
const SETTLE = 1500;
const PICKABLE = ["write", "enrol", "erase"].some(can);

// A link says which collection it shows.
const named = collectionOf(location.search);
if (named && named !== current()) choose(named);

const form = filterForm(reload);
const query = () => queryOf(form.filter(), current());
const list = photoList(query);
const watched = new Map();
let focus = null;
let skeletons = null;

const chosen = selection(list.items, () => {
  grid.refresh();
  bar.show();
});
const grid = photoGrid(byId("library-grid"), {
  draw: (photo) => {
    follow(photo);
    return drawCard(photo, { chosen: chosen.has, active: (id) => id === (focus ?? list.items()[0]?.id), search: form.search, pickable: PICKABLE });
  },
  head: (text, items) => drawDay(text, items, PICKABLE ? chosen.each : null),
  dayOf: (photo) => (photo.day ??= day(photo.received_at)),
  dropped: ({ id }) => {
    watched.get(id)?.();
    watched.delete(id);
  },
  wanted: () => list.more().then((came) => came && drawAll(), end),
});
const bar = chosenBar(byId("library-bar"), chosen, {
  erased: (ids) => gone(ids),
  moved: ({ ids, collection }) => (current() ? gone(ids) : change(ids, { collection })),
  retried: (ids) => change(ids, { state: "received", reason: null }),
  // Of an unknown face there is none on them any more.
  named: (ids) => form.filter().faces === "unknown" && gone(ids),
});

function follow(photo) {
  if (FINISHED.has(photo.state) || watched.has(photo.id)) return;
  watched.set(photo.id, watch(photo, (news) => change([photo.id], news)));
}

function drawAll() {
  byId("library-grid").hidden = !list.items().length;
  put(byId("library-status"), list.items().length ? null : nothing());
  grid.set(list.items());
  end();
  count();
}

async function reload({ quiet = false } = {}) {
  clearTimeout(skeletons);
  byId("library-new").hidden = true;
  if (!quiet) {
    chosen.clear();
    focus = null;
    byId("library-grid").setAttribute("aria-busy", "true");
    skeletons = setTimeout(() => {
      list.clear();
      grid.set([]);
      put(byId("library-end"));
      put(byId("library-status"), h("p", { class: "visually-hidden" }, t("frame.loading")), skeleton("card", 12));
    }, PATIENCE);
  }
  try {
    const had = quiet ? list.items().length : 0;
    if (!(await list.reload())) return;
    // Whoever looks further down stays there.
    while (list.items().length < had && (await list.more()));
    clearTimeout(skeletons);
    if (!quiet) scrollTo(0, 0);
    drawAll();
  } catch (error) {
    clearTimeout(skeletons);
    if (isAbort(error)) return;
    list.clear();
    grid.set([]);
    put(byId("library-end"));
    put(byId("library-count"));
    put(byId("library-status"), failed(error, () => reload()));
  }
  byId("library-grid").removeAttribute("aria-busy");
}

function nothing() {
  if (active(form.filter())) {
    return empty({ icon: "photos", title: t("photos.none_fits"), text: t("photos.none_fits_help"), actions: [h("button", { type: "button", onclick: form.clear }, t("photos.clear"))] });
  }
  const upload = byId("open-uploads");
  return empty({
    icon: "photos", title: t(current() ? "photos.none_here" : "photos.none"), text: t(upload ? "photos.none_help" : "photos.none_help_read"),
    actions: upload ? [h("button", { type: "button", class: "primary", onclick: () => upload.click() }, t("frame.upload"))] : [],
  });
}

// What stands below the last photo.
function end(error = null) {
  if (error && isAbort(error)) return;
  const place = byId("library-end");
  if (error) put(place, failed(error, () => list.more().then(drawAll, end)));
  else put(place, list.ended() ? null : h("button", { type: "button", onclick: () => list.more().then(drawAll, end) }, t("frame.load_more")));
}

async function count() {
  const items = list.items();
  const n = items.length;
  const place = byId("library-count");
  if (list.ended()) return put(place, n ? t("words.photos", { n }) : null);
  put(place, t("photos.first", { n }));
  try {
    const total = await totalOf(form.filter());
    if (total !== null && items === list.items()) put(place, t("words.photos", { n: Math.max(total, n) }));
  } catch {
    // The number that is loaded is told already.
  }
  return undefined;
}

// How many there are; null: nobody counts photos of such a filter.
async function totalOf(filter) {
  if (active(filter) > (filter.state ? 1 : 0)) return null;
  if (current()) {
    const { photos } = await get(`/collections/${encodeURIComponent(current())}`);
    return filter.state ? photos[filter.state] : Object.values(photos).reduce((all, each) => all + each, 0);
  }
  return filter.state ? null : (await get("/overview", { etag: true })).numbers.photos;
}

function change(ids, news) {
  for (const now of list.change(ids, news)) {
    chosen.learn(now);
    if (FINISHED.has(now.state)) watched.delete(now.id);
    else if (grid.element(now.id)) follow(now);
  }
  grid.set(list.items());
  bar.show();
}

function gone(ids) {
  const at = list.items().findIndex((each) => each.id === focus);
  const had = byId("library-grid").contains(document.activeElement);
  list.drop(ids);
  chosen.drop(ids);
  if (ids.includes(focus)) focus = list.items()[Math.min(at, list.items().length - 1)]?.id ?? null;
  drawAll();
  if (had && focus) look(list.items().findIndex((each) => each.id === focus));
}

function look(index) {
  const item = list.items()[index];
  if (!item) return;
  focus = item.id;
  const element = grid.reveal(index);
  grid.refresh();
  element.querySelector("a").focus({ preventScroll: true });
}

// Choosing with the mouse: the mark, or the photo itself once one is chosen; Shift takes all between.
byId("library-grid").addEventListener("click", (event) => {
  const card = event.target.closest(".photo");
  if (!card) return;
  const item = list.items().find((each) => each.id === card.dataset.id);
  focus = item.id;
  const mark = event.target.closest(".pick");
  if (!PICKABLE || event.ctrlKey || event.metaKey || (!mark && !event.shiftKey && !chosen.size())) return;
  event.preventDefault();
  if (event.shiftKey) chosen.upTo(item);
  else chosen.toggle(item);
});
byId("library-grid").addEventListener("focusin", (event) => {
  const id = event.target.closest(".photo")?.dataset.id;
  if (!id || id === focus) return;
  focus = id;
  grid.refresh();
});
moveWithKeys({ list, grid, chosen, look, at: () => list.items().findIndex((each) => each.id === focus), pickable: PICKABLE, bar });

walkThrough({
  search: form.search,
  // The photo before or behind another in this list.
  async beside({ id }, step) {
    let at = list.items().findIndex((each) => each.id === id);
    if (at < 0) return undefined;
    at += step;
    if (at === list.items().length && !list.ended() && (await list.more())) drawAll();
    return list.items()[at]?.id ?? null;
  },
  query,
});
document.addEventListener("viewer-closed", ({ detail }) => {
  const at = list.items().findIndex((each) => each.id === detail.id);
  if (at >= 0) look(at);
});
document.addEventListener("photo-changed", ({ detail }) => change([detail.id], detail));
document.addEventListener("photos-gone", ({ detail }) => gone(detail.ids));
document.addEventListener("photos-back", () => reload({ quiet: true }));

let timer = null;
document.addEventListener("photo-finished", () => {
  clearTimeout(timer);
  timer = setTimeout(() => {
    // Not while somebody looks at what is further down, or has chosen some.
    if (scrollY < innerHeight && !chosen.size() && list.pages() <= 1) reload({ quiet: true });
    else byId("library-new").hidden = false;
  }, SETTLE);
});
byId("library-new").addEventListener("click", () => reload());
byId("library-refresh").addEventListener("click", () => reload());
onCollection(() => {
  const search = form.search();
  if (location.pathname === "/photos" && location.search !== search) history.pushState(null, "", `/photos${search}`);
  reload();
});
if (location.pathname === "/photos" && location.search !== form.search()) history.replaceState(null, "", `/photos${form.search()}`);
reload();
