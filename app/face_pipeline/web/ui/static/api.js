// Talking to the API with the page's session: one kind of error, and uploads that tell how far they are.

const BASE = "/api/v1";

// Answers after which the same request may succeed.
const TEMPORARY = new Set([429, 502, 503, 504]);

export class ApiError extends Error {
  constructor(status, body, retryAfter = null) {
    const error = body?.error ?? {};
    super(error.message ?? (status ? `the server answered ${status}` : "the server cannot be reached"));
    this.status = status;
    this.code = error.code ?? (status ? "unexpected_answer" : "network");
    this.details = error.details ?? {};
    this.retryAfter = retryAfter;
    this.temporary = status === 0 || TEMPORARY.has(status);
  }
}

function headers() {
  const token = document.querySelector("meta[name=csrf-token]")?.content;
  return { Accept: "application/json", ...(token ? { "X-CSRF-Token": token } : {}) };
}

function signedOut() {
  document.dispatchEvent(new CustomEvent("signed-out"));
}

// Seconds; the header may also hold a date.
function waitOf(value) {
  if (!value) return null;
  const wait = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(wait) ? Math.max(0, wait) : null;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function send(method, url, options = {}) {
  let response;
  try {
    response = await fetch(url, { method, credentials: "same-origin", ...options, headers: { ...headers(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0);
  }
  const body = parse(await response.text());
  if (response.ok) return body;
  if (response.status === 401 && url.startsWith(BASE)) signedOut();
  throw new ApiError(response.status, body, waitOf(response.headers.get("Retry-After")));
}

export const get = (path, options) => send("GET", BASE + path, options);

export const signIn = (key) =>
  send("POST", "/session", { body: JSON.stringify({ api_key: key }), headers: { "Content-Type": "application/json" } });

export const signOut = () => send("DELETE", "/session");

export function search(photo, { collection, threshold }, signal) {
  const form = new FormData();
  form.append("photo", photo, photo.name || "photo");
  form.append("group_by", "person");
  if (collection) form.append("collection", collection);
  if (threshold !== null) form.append("threshold", threshold);
  return send("POST", `${BASE}/search`, { body: form, signal });
}

// fetch cannot tell how much of a body was sent; XMLHttpRequest can.
export function upload(file, { collection, person }, onProgress) {
  const form = new FormData();
  form.append("photos", file, file.name);
  if (collection) form.append("collection", collection);
  if (person) form.append("person", person);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${BASE}/photos`);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      const body = parse(request.responseText);
      if (request.status === 202 && body) return resolve(body);
      if (request.status === 401) signedOut();
      reject(new ApiError(request.status, body, waitOf(request.getResponseHeader("Retry-After"))));
    };
    request.onerror = request.onabort = request.ontimeout = () => reject(new ApiError(0));
    request.send(form);
  });
}

/** The picture that a search of this file looks for faces in, as a JPEG. */
export async function rendition(photo) {
  const form = new FormData();
  form.append("photo", photo, photo.name || "photo");
  const response = await fetch(`${BASE}/renditions`, { method: "POST", credentials: "same-origin", headers: headers(), body: form });
  if (!response.ok) throw new ApiError(response.status, parse(await response.text()), waitOf(response.headers.get("Retry-After")));
  return response.blob();
}

export const imageUrl = (photoId) => `${BASE}/photos/${photoId}/image`;
export const uprightUrl = (photoId, size = 1600) => `${imageUrl(photoId)}?rendition=upright&size=${size}`;
// Browsers show JPEGs as the service sees them. Other formats they turn differently, play, or cannot show.
export const pictureUrl = (photo, size) => (photo.media_type === "image/jpeg" ? imageUrl(photo.id) : uprightUrl(photo.id, size));
export const cropUrl = (faceId, size = 160) => `${BASE}/faces/${faceId}/crop?size=${size}`;
