// One request with one photo or several. fetch cannot tell how much of a body was sent; XMLHttpRequest can.

import { ApiError, parse, renew, sessionHeaders, waitOf } from "../lib/api.js";

const DISK_WAIT = 30;

/**
 * Sends `files`, called `names`, under the key `request`: the same request once more puts nothing in twice. `progress(bytes)`: so much
 * is sent. Resolves to the answer of POST /photos; raises ApiError, or what `signal` was aborted with. A session that
 * has ended is an error; the token of an old one is not.
 */
export async function send(files, what, { signal, progress }) {
  for (let renewed = 0; ; renewed += 1) {
    try {
      return await sent(files, what, { signal, progress });
    } catch (error) {
      if (renewed === 2 || error.code !== "csrf_token" || !(await renew(error, { signIn: false }))) throw error;
    }
  }
}

function sent(files, { names, request: key, batch, person }, { signal, progress }) {
  const form = new FormData();
  files.forEach((file, index) => form.append("photos", file, names[index]));
  form.append("batch", batch);
  if (person) form.append("person", person);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/v1/photos");
    for (const [name, value] of Object.entries({ ...sessionHeaders(), "Idempotency-Key": key })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => progress(event.loaded);
    request.onload = () => {
      const body = parse(request.responseText);
      if (request.status === 202 && body) resolve(body);
      else reject(new ApiError(request.status, body, waitOf(request.getResponseHeader("Retry-After"))));
    };
    request.onerror = request.ontimeout = () => reject(new ApiError(0));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/**
 * What became of each of `names`, in their order: {photo} or {rejected}. The answer has the photos in their order and
 * the rejected files in theirs; null where names do not tell which is which.
 */
export function pair(names, { photos = [], rejected = [] }) {
  if (photos.length + rejected.length !== names.length) return null;
  if (!rejected.length) return photos.map((photo) => ({ photo }));
  if (!photos.length) return rejected.map((each) => ({ rejected: each }));
  const [good, bad] = [[...photos], [...rejected]];
  const told = names.map((name) => {
    const [photo, refused] = [good[0]?.filename === name, bad[0]?.filename === name];
    if (photo === refused) return null;
    return photo ? { photo: good.shift() } : { rejected: bad.shift() };
  });
  return told.includes(null) ? null : told;
}

/**
 * What an error means for the `count` files of its request: {waits: condition, seconds} where it goes on later,
 * {rejected} as an answer has it, or {does}: "split" (one by one, under new keys), "batch" (in a new batch), "hold"
 * (somebody has to mend what they typed), "stop".
 */
export function meaning({ status, code, details, retryAfter, temporary }, count) {
  if (status === 0) return { waits: "offline" };
  if (status === 401) return { waits: "signed_out" };
  if (code === "scope_missing") return { waits: "not_allowed" };
  if (status === 507) return { waits: "disk_full", seconds: retryAfter ?? DISK_WAIT };
  if (temporary) return { waits: "busy", seconds: retryAfter };
  // The same request is under way, of the page before.
  if (code === "idempotency_in_progress") return { waits: "again", seconds: 1 };
  if (details?.rejected) return { rejected: details.rejected };
  if (status === 413) return count > 1 ? { does: "split" } : { rejected: [{ code: "request_too_large" }] };
  if (code?.startsWith("idempotency_")) return { does: "split" };
  // Somebody deleted the collection meanwhile; it is made again.
  if (code === "batch_not_found") return { does: "batch" };
  return { does: [400, 403, 404, 409, 422].includes(status) ? "hold" : "stop" };
}

/** Which of `files` can no longer be read: somebody changed, moved or deleted them since they were chosen. */
export async function unreadable(files) {
  const read = await Promise.allSettled(files.map((file) => file.slice(0, 1).arrayBuffer()));
  return files.map((_, index) => read[index].status === "rejected");
}
