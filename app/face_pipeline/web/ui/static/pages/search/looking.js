// One search, of as many collections as somebody wants: the API takes ten at a time.

import { post } from "../../lib/api.js";

const AT_ONCE = 10;
const LIMIT = 10;
// A collection of another model, or one that was erased a moment ago.
const NOT_SEARCHABLE = new Set([404, 409]);

function request(subject, names, settings, signal) {
  const wish = { ...settings, limit: LIMIT, group_by: "person" };
  if (wish.threshold === null) delete wish.threshold;
  if (subject.face) {
    const { min_face_size: _, ...rest } = wish;
    return post("/search", { face_id: subject.face.id, ...rest, ...(names.length ? { collection: names } : {}) }, { signal });
  }
  const form = new FormData();
  form.append("photo", subject.file, subject.name);
  for (const [name, value] of Object.entries(wish)) form.append(name, value);
  for (const name of names) form.append("collection", name);
  return post("/search", form, { signal });
}

/**
 * The answer for `subject` ({file, name} or {face}) in the collections `names`. Of several, those that cannot be searched
 * are left out, and named in `skipped`. `tell(answer, looked)` after every ten. An answer is the API's, with `skipped`.
 */
export async function look(subject, names, settings, { signal, tell = () => {} }) {
  const skipped = [];
  const some = async (part) => {
    try {
      return [await request(subject, part, settings, signal)];
    } catch (error) {
      if (!NOT_SEARCHABLE.has(error.status) || names.length < 2) throw error;
      if (part.length === 1) {
        skipped.push(part[0]);
        return [];
      }
      const half = Math.ceil(part.length / 2);
      return [...(await some(part.slice(0, half))), ...(await some(part.slice(half)))];
    }
  };
  let whole = null;
  for (let at = 0; at === 0 || at < names.length; at += AT_ONCE) {
    for (const answer of await some(names.slice(at, at + AT_ONCE))) whole = together(whole, answer);
    if (whole && at + AT_ONCE < names.length) tell({ ...whole, skipped }, at + AT_ONCE);
  }
  // Not one of them can be searched: the server says why.
  return { ...(whole ?? (await request(subject, names.slice(0, 1), settings, signal))), skipped };
}

function together(one, other) {
  const [only] = other.collections;
  // Where there is one alone, its matches do not say so.
  const faces = other.faces.map((face) => ({ ...face, matches: face.matches.map((match) => ({ collection: only, ...match })) }));
  if (!one) return { ...other, faces };
  return {
    ...one,
    faces: one.faces.map((face, index) => ({
      ...face,
      matches: [...face.matches, ...(faces[index]?.matches ?? [])].sort((a, b) => b.similarity - a.similarity).slice(0, LIMIT),
    })),
    cache: one.cache === other.cache ? one.cache : "miss",
    duration_seconds: one.duration_seconds + other.duration_seconds,
    collections: [...one.collections, ...other.collections],
    searched: { collections: [...one.searched.collections, ...other.searched.collections], faces: one.searched.faces + other.searched.faces },
  };
}
