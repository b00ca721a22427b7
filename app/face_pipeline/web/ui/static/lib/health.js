// The dot in the header: whether every part answers.

import { byId } from "./dom.js";
import { t } from "./texts.js";

const EVERY = 60_000;
const PATIENCE = 10_000;

export function startHealth() {
  ask();
  setInterval(() => document.hidden || ask(), EVERY);
  document.addEventListener("visibilitychange", () => document.hidden || ask());
}

async function ask() {
  try {
    const response = await fetch("/health/ready", { signal: AbortSignal.timeout(PATIENCE), headers: { Accept: "application/json" } });
    show(response.ok ? "good" : "bad");
  } catch {
    show("away");
  }
}

/** `state`: "good", "warning", "bad", "away" (the server cannot be reached), "unknown". */
export function show(state) {
  const dot = byId("health");
  if (dot.dataset.state === state) return;
  const text = t(`frame.health.${state}`);
  dot.dataset.state = state;
  dot.title = text;
  byId("health-text").textContent = text;
}
