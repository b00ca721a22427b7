// Talking to the API with the page's session: one kind of error, a new sign-in where the session has ended, and
// the same call again where that is all it takes.

const BASE = "/api/v1";
// Answers after which the same request may succeed.
const TEMPORARY = new Set([429, 502, 503, 504]);
// A call waits by itself for so many seconds at most, so many times.
const LONGEST_WAIT = 10;
const WAITS = 2;

/** {status, code, message, details, retryAfter: seconds or null, temporary}; status 0: the server cannot be reached. */
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

const token = () => document.querySelector("meta[name=csrf-token]");

/** What each request of the session carries. */
export const sessionHeaders = () => ({ Accept: "application/json", ...(token() ? { "X-CSRF-Token": token().content } : {}) });

// Seconds; the header may also hold a date.
export function waitOf(value) {
  if (!value) return null;
  const wait = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(wait) ? Math.max(0, wait) : null;
}

export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const later = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

const errorOf = async (response) =>
  new ApiError(response.status, parse(await response.text()), waitOf(response.headers.get("Retry-After")));

async function once(method, url, { body, headers = {}, signal }) {
  const json = body !== undefined && !(body instanceof FormData) && !(body instanceof Blob);
  try {
    return await fetch(url, {
      method, signal, credentials: "same-origin",
      body: json ? JSON.stringify(body) : body,
      headers: { ...sessionHeaders(), ...(json ? { "Content-Type": "application/json" } : {}), ...headers },
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0);
  }
}

/** The response to a call, however often it has to be made; raises ApiError, or what `signal` was aborted with. */
async function answered(method, url, options) {
  let renewed = 0;
  for (let waits = 0; ; ) {
    const response = await once(method, url, options);
    if (response.ok || response.status === 304) return response;
    const error = await errorOf(response);
    const again = renewed < 2 && (await renew(error, options));
    if (again) {
      renewed += 1;
    } else if (error.status === 429 && error.retryAfter !== null && error.retryAfter <= LONGEST_WAIT && waits < WAITS) {
      waits += 1;
      await later(error.retryAfter, options.signal);
    } else {
      throw error;
    }
  }
}

/** Whether the call may be made again, after what `error` says was mended: no session, or the token of an old one. */
export async function renew(error, { signIn = true } = {}) {
  if (error.status === 403 && error.code === "csrf_token") return renewToken();
  if (error.status !== 401 || !signIn) return false;
  const { signInHere } = await import("./sign_in_here.js");
  return signInHere();
}

/** The token of the session as it is now; whether there is one. */
export async function renewToken() {
  try {
    const response = await once("GET", "/session", {});
    if (response.ok) take(await response.json());
    return response.ok;
  } catch {
    return false;
  }
}

// Who is signed in, as POST and GET /session tell it.
function take(session) {
  if (token()) token().content = session.csrf_token;
  document.dispatchEvent(new CustomEvent("signed-in", { detail: session }));
  return session;
}

const withQuery = (path, query) => {
  const entries = Object.entries(query ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(entries.flatMap(([name, value]) => [value].flat().map((each) => [name, each])));
  return entries.length ? `${path}?${text}` : path;
};

// address -> {etag, body}
const seen = new Map();

/**
 * One call of the API. `path` is what follows /api/v1. Options: `query` {name: value or list; empty ones are left
 * out}, `body` (an object becomes JSON; FormData and Blob go as they are), `headers`, `signal`, `etag` (true: ask
 * whether it changed; the same object comes back when not), `as` ("json", "blob", "response"), `signIn` (false: a
 * 401 is an error and asks nobody). Resolves to the answer's JSON, null without one; raises ApiError.
 */
export async function call(method, path, { query, etag = false, as = "json", ...options } = {}) {
  const url = withQuery(BASE + path, query);
  const known = etag ? seen.get(url) : null;
  if (known) options.headers = { ...options.headers, "If-None-Match": known.etag };
  const response = await answered(method, url, options);
  if (response.status === 304) return known.body;
  if (as === "response") return response;
  if (as === "blob") return response.blob();
  const body = parse(await response.text());
  if (etag && response.headers.get("ETag")) seen.set(url, { etag: response.headers.get("ETag"), body });
  return body;
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body, options) => call("POST", path, { ...options, body });
export const put = (path, body, options) => call("PUT", path, { ...options, body });
export const patch = (path, body, options) => call("PATCH", path, { ...options, body });
export const del = (path, options) => call("DELETE", path, options);

/** Signs in; resolves to {csrf_token, name, scopes}. */
export async function signIn(key) {
  const response = await once("POST", "/session", { body: { api_key: key } });
  if (!response.ok) throw await errorOf(response);
  return take(await response.json());
}

export async function signOut() {
  const response = await once("DELETE", "/session", {});
  if (!response.ok) throw await errorOf(response);
}

export const isAbort = (error) => error?.name === "AbortError";

export const photoUrl = (photoId) => `/photos/${photoId}`;
export const personUrl = (personId) => `/people/${personId}`;
export const imageUrl = (photoId) => `${BASE}/photos/${photoId}/image`;
export const uprightUrl = (photoId, size = 1600) => `${imageUrl(photoId)}?rendition=upright&size=${size}`;
// Browsers show JPEGs as the service sees them. Other formats they turn differently, play, or cannot show.
export const pictureUrl = (photo, size) =>
  photo.media_type === "image/jpeg" ? imageUrl(photo.id) : uprightUrl(photo.id, size);
export const cropUrl = (faceId, size = 160) => `${BASE}/faces/${faceId}/crop?size=${size}`;
