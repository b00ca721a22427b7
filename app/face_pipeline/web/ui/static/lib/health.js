// The dot in the header: whether every part answers.

import { byId } from "./dom.js";
import { t } from "./texts.js";

const EVERY = 60_000;
const PATIENCE = 10_000;

// What /health/ready says, and what a page knows beyond that.
let parts = "unknown";
let known = null;

export function startHealth() {
  ask();
  setInterval(() => document.hidden || ask(), EVERY);
  document.addEventListener("visibilitychange", () => document.hidden || ask());
}

async function ask() {
  try {
    const response = await fetch("/health/ready", { signal: AbortSignal.timeout(PATIENCE), headers: { Accept: "application/json" } });
    parts = response.ok ? "good" : "bad";
  } catch {
    parts = "away";
  }
  draw();
}

/**
 * What a page knows: "good", "warning", "bad", "away" (the server cannot be reached), "unknown". It counts until the
 * page says another, but for a part that does not answer, which is worse.
 */
export function show(state) {
  known = state;
  draw();
}

function draw() {
  const state = known === null || ["bad", "away"].includes(parts) ? parts : known;
  const dot = byId("health");
  if (dot.dataset.state === state) return;
  const text = t(`frame.health.${state}`);
  dot.dataset.state = state;
  dot.title = text;
  byId("health-text").textContent = text;
}
