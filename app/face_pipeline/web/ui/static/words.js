// The API's codes in words. A code that is not here is shown with the server's own message.

import { bytes } from "./dom.js";

const limits = document.body.dataset;
const megapixels = Math.round(Number(limits.maxPixels) / 1e6);

const REASONS = {
  empty_file: "The file is empty.",
  too_large: `Larger than ${bytes(Number(limits.maxBytes))}. Make it smaller and upload it again.`,
  request_too_large: `Larger than this server takes. Make it smaller and upload it again.`,
  unsupported_type: "Not a JPEG, PNG, WebP, HEIC or AVIF photo.",
  too_many_pixels: `More than ${megapixels} megapixels. Make it smaller and upload it again.`,
  too_much_memory: "It takes more memory to decode than this server allows. Make it smaller, or save it with 8 bits a channel.",
  too_much_work: "It would take too long to decode. Save it again as an ordinary JPEG.",
  side_ratio: "Far too long and narrow for a face. Cut it to the part that shows the face.",
  truncated: "The file is cut off. Copy it again.",
  broken_image: "The file is damaged. Export or copy it again.",
  decoding_busy: "The server is busy with other photos. Try again in a moment.",
  original_missing: "The original is no longer on the server. Upload it again.",
  out_of_memory: "The photo needs more memory than a worker has. Make it smaller.",
  deadline_exceeded: "The photo took a worker too long. Make it smaller and upload it again.",
  engine_error: "The recognition engine failed on this photo. The server’s log says why.",
  search_timeout: "No worker answered in time: they are busy or stopped. Try again.",
  search_unavailable: "The task queue cannot be reached. Try again in a moment.",
  database_unavailable: "The database cannot be reached. Try again in a moment.",
  database_busy: "The database is busy with other requests. Try again in a moment.",
  disk_full: "The server’s disk is full. Try again once there is room.",
  person_differs: "Not named: it already belongs to another person.",
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
