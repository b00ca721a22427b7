// Following photos until they are done or failed: one poll for all, slower while nothing happens,
// none while the page is hidden.

import { get } from "./api.js";
import { FINISHED } from "./words.js";

const FASTEST = 1000;
const SLOWEST = 8000;
const SLOWDOWN = 1.5;
// Up to this many are asked for one by one; more are looked up in the list of recent photos.
const FEW = 4;
const PAGE = 200;
const PAGES = 5;

const watched = new Map(); // photo id -> {state, tell: Set}
let timer = null;
let due = 0;
let pause = FASTEST;
let asking = false;

/** Call `tell(photo)` at each change of state until the photo is finished. Returns a function that stops it. */
export function watch(photo, tell) {
  const entry = watched.get(photo.id) ?? { state: photo.state, tell: new Set() };
  entry.tell.add(tell);
  watched.set(photo.id, entry);
  pause = FASTEST;
  schedule();
  return () => {
    entry.tell.delete(tell);
    if (entry.tell.size === 0) watched.delete(photo.id);
  };
}

function schedule() {
  if (asking || document.hidden || watched.size === 0) return;
  // Each upload comes by here: they must not put the next poll off again and again.
  if (timer !== null && due <= Date.now() + pause) return;
  clearTimeout(timer);
  due = Date.now() + pause;
  timer = setTimeout(ask, pause);
}

async function ask() {
  asking = true;
  timer = null;
  let changed = false;
  try {
    changed = watched.size > FEW ? await askList() : await askEach([...watched.keys()]);
    pause = changed ? FASTEST : Math.min(SLOWEST, pause * SLOWDOWN);
  } catch (error) {
    pause = Math.max(SLOWEST, (error.retryAfter ?? 0) * 1000);
    if (error.status === 401) watched.clear();
  }
  asking = false;
  schedule();
}

async function askEach(ids) {
  let changed = false;
  for (const id of ids) {
    try {
      const photo = await get(`/photos/${id}`);
      changed = learn({ ...photo, face_count: photo.faces.length }) || changed;
    } catch (error) {
      if (error.status !== 404) throw error;
      watched.delete(id);
    }
  }
  return changed;
}

async function askList() {
  const missing = new Set(watched.keys());
  let changed = false;
  let cursor = "";
  for (let page = 0; page < PAGES && missing.size > 0 && cursor !== null; page += 1) {
    const answer = await get(`/photos?limit=${PAGE}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    for (const photo of answer.photos) {
      if (missing.delete(photo.id)) changed = learn(photo) || changed;
    }
    cursor = answer.next_cursor;
  }
  // Photos that were uploaded long ago and now once more.
  return (await askEach([...missing].slice(0, FEW))) || changed;
}

function learn(photo) {
  const entry = watched.get(photo.id);
  if (!entry || (entry.state === photo.state && !FINISHED.has(photo.state))) return false;
  entry.state = photo.state;
  if (FINISHED.has(photo.state)) watched.delete(photo.id);
  for (const tell of entry.tell) tell(photo);
  return true;
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  timer = null;
  pause = FASTEST;
  schedule();
});
