// The API's codes in words. A code that is not here is shown with the server's own message.

import { bytes } from "./dom.js";

const limits = document.body.dataset;
const megapixels = Math.round(Number(limits.maxPixels) / 1e6);

const REASONS = {
  empty_file: "The file is empty.",
  too_large: `Larger than ${bytes(Number(limits.maxBytes))}. Make it smaller and upload it again.`,
  request_too_large: `Larger than this server takes. Make it smaller and upload it again.`,
  unsupported_type: "Not a JPEG, PNG or WebP photo.",
  too_many_pixels: `More than ${megapixels} megapixels. Make it smaller and upload it again.`,
  broken_image: "The file is damaged or cut off. Export or copy it again.",
  original_missing: "The original is no longer on the server. Upload it again.",
  out_of_memory: "The photo needs more memory than a worker has. Make it smaller.",
  deadline_exceeded: "The photo took a worker too long. Make it smaller and upload it again.",
  engine_error: "The recognition engine failed on this photo. The server’s log says why.",
  search_timeout: "No worker answered in time: they are busy or stopped. Try again.",
  search_unavailable: "The task queue cannot be reached. Try again in a moment.",
  database_unavailable: "The database cannot be reached. Try again in a moment.",
  collection_not_found: "There is no such collection. Check the name, or upload photos to it first.",
  api_key_missing: "You are signed out. Sign in again.",
  api_key_invalid: "This key is not valid (any more). Sign in again.",
  scope_missing: "This key may not do that.",
  csrf_token: "This page is too old. Reload it.",
};

export const STATES = {
  waiting: "Waiting",
  uploading: "Uploading",
  retrying: "Trying again",
  rejected: "Rejected",
  stopped: "Not uploaded",
  received: "Received",
  queued: "Queued",
  processing: "Processing",
  done: "Done",
  failed: "Failed",
};

export const FINISHED = new Set(["done", "failed"]);

export function inWords({ code, message }) {
  if (REASONS[code]) return REASONS[code];
  const text = message || "Something went wrong.";
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
