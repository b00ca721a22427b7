// The dot in the header: whether every part answers, and whether something needs somebody.

import { get } from "./api.js";
import { byId } from "./dom.js";
import { t } from "./texts.js";

const EVERY = 60_000;
const PATIENCE = 10_000;

// What /health/ready says, what the overview says, and what a page knows beyond that.
let parts = "unknown";
let needs = null;
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
  if (parts === "good") await look();
  draw();
}

// The first page asks by itself, and more often.
async function look() {
  if (document.body.dataset.canRead !== "true" || byId("main").dataset.page === "overview") return;
  try {
    needs = stateOf(await get("/overview", { etag: true, signIn: false }));
  } catch {
    needs = null;
  }
}

/** How bad a need is: "bad" or "warning". */
export function kindOf(need, { alerts }) {
  if (need.code === "no_worker") return "bad";
  const critical = alerts.some((alert) => alert.severity === "critical" && !alert.silences.length);
  return need.code === "alerts_firing" && critical ? "bad" : "warning";
}

/** "good", "warning" or "bad": the worst that an overview, as the API tells it, needs somebody for. */
export function stateOf(overview) {
  const kinds = overview.needs.map((need) => kindOf(need, overview));
  return kinds.includes("bad") ? "bad" : kinds.length ? "warning" : "good";
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
  const state = ["bad", "away"].includes(parts) ? parts : known ?? needs ?? parts;
  const dot = byId("health");
  if (dot.dataset.state === state) return;
  const text = t(`frame.health.${state}`);
  dot.dataset.state = state;
  dot.title = text;
  byId("health-text").textContent = text;
}
