// The states of a file; it is in exactly one.

export const UNSENT = new Set(["waiting", "sending", "held", "lost", "stopped"]);
// Somebody has to do something before these are sent.
export const NEED_SOMEBODY = new Set(["held", "lost", "stopped"]);
export const ENDED = new Set(["done", "nobody", "known", "failed", "rejected", "received"]);
export const AGAIN = new Set(["stopped", "failed"]);
// As a summary tells them.
export const ORDER = ["sending", "waiting", "held", "underway", "received", "done", "nobody", "known", "failed", "rejected", "stopped", "lost"];

/** The state of a photo that the server has finished. */
export const finished = (state, faces) => (state === "failed" ? "failed" : faces === 0 ? "nobody" : "done");
