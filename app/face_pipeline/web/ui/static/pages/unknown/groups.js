// Groups of unknown faces as the API has them: the list, largest first, one of them with its guess, and what is done.

import { cropUrl, get, patch, post } from "../../lib/api.js";
import { current } from "../../lib/collection.js";
import { assign } from "../people/shared.js";

const LIST = 50;
const FACES = 60;
const ALL = 200;
// As many of the best faces are looked for among the people.
const ASKED = 2;
const GUESSES = 4;
const PICTURES = 12;

/** A list that grows as it is walked: {items, more()} where more() resolves to whether there came some. */
export function queue() {
  const items = [];
  let cursor = null;
  let ended = false;
  let loading = null;
  async function load() {
    const answer = await get("/clusters", { query: { collection: current(), limit: LIST, cursor } });
    // A group that grew meanwhile may come once more.
    const fresh = answer.clusters.filter((each) => !items.some((known) => known.id === each.id));
    items.push(...fresh);
    cursor = answer.next_cursor;
    ended = cursor === null;
    return fresh.length > 0;
  }
  const more = () => {
    if (ended) return Promise.resolve(false);
    loading ??= load().finally(() => (loading = null));
    return loading;
  };
  return { items, more, get ended() { return ended; } };
}

const looked = new Map();

/** {group, guess: Promise of guesses} of a group, asked for once until it is forgotten. */
export function look(id) {
  if (!looked.has(id)) {
    const asked = get(`/clusters/${id}`, { query: { limit: FACES } }).then((group) => {
      const guesses = guess(group).catch(() => []);
      return { group, guesses };
    });
    asked.catch(() => looked.delete(id));
    looked.set(id, asked);
  }
  return looked.get(id);
}

export const forget = (id) => looked.delete(id);

/** Asks for what the next one needs, with its first pictures. */
export const prepare = (id) =>
  look(id).then(({ group }) => {
    for (const face of group.faces.slice(0, PICTURES)) new Image().src = cropUrl(face.id, 320);
  }).catch(() => {});

/** People that the best faces of the group are like: [{person, similarity, certainty, thresholds}], best first. */
async function guess(group) {
  const asked = group.faces.slice(0, ASKED).map((face) => post("/search", { face_id: face.id, group_by: "person", named: true, limit: GUESSES }));
  const answers = await Promise.all(asked);
  const best = new Map();
  for (const answer of answers) {
    for (const match of answer.faces.flatMap((face) => face.matches)) {
      if ((best.get(match.person_id)?.similarity ?? -1) >= match.similarity) continue;
      best.set(match.person_id, { ...match, thresholds: answer.thresholds });
    }
  }
  const first = [...best.values()].sort((a, b) => b.similarity - a.similarity).slice(0, GUESSES);
  const known = await Promise.all(first.map((each) => get(`/persons/${each.person_id}`).catch(() => null)));
  return first.map((each, index) => ({ ...each, person: known[index] })).filter((each) => each.person);
}

/** Ids of all faces of the group; those of its first page are known. */
async function everyFace(group) {
  const ids = group.faces.map((face) => face.id);
  let cursor = group.next_cursor;
  while (cursor) {
    const answer = await get(`/clusters/${group.id}`, { query: { limit: ALL, cursor } });
    ids.push(...answer.faces.map((face) => face.id));
    cursor = answer.next_cursor;
  }
  return ids;
}

/** More faces of the group, onto its list. */
export async function moreFaces(group) {
  const answer = await get(`/clusters/${group.id}`, { query: { limit: FACES, cursor: group.next_cursor } });
  group.next_cursor = answer.next_cursor;
  group.faces.push(...answer.faces);
  return answer.faces;
}

/**
 * Gives the group, without the faces `left` (a Set of ids), to `who`: {person_id} or {name}. Resolves to {person, given,
 * undo()}.
 */
export async function give(group, left, who) {
  const ids = (await everyFace(group)).filter((id) => !left.has(id));
  const named = left.size
    ? await assign(post, ids, who.person_id ? who : { person: who.name })
    : await post(`/clusters/${group.id}/name`, who).then((answer) => ({ person: answer.person, given: answer.face_count }));
  forget(group.id);
  return { ...named, undo: () => assign(post, ids, { person_id: null }) };
}

export const hide = (id, hidden) => patch(`/clusters/${id}`, { hidden });
