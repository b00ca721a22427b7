// The API's codes, sizes and shares in words. A code without a text is shown with the server's own message.

import { locale } from "./locale.js";
import { has, number, t } from "./texts.js";

const limits = document.body.dataset;

export const FINISHED = new Set(["done", "failed"]);

/** The name of a photo's state, or of an upload's. */
export const state = (name) => (has(`words.states.${name}`) ? t(`words.states.${name}`) : name);

/** `{code, message}` of an error or a photo's reason as a sentence. */
export function inWords({ code, message }) {
  const key = `words.reasons.${code}`;
  if (has(key)) return t(key, { size: bytes(Number(limits.maxBytes)), megapixels: Math.round(Number(limits.maxPixels) / 1e6) });
  const text = message || t("words.wrong");
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

const shares = new Intl.NumberFormat(locale, { style: "percent" });

/** A share of 0 to 1. */
export const percent = (share) => shares.format(Math.max(0, share));

const UNITS = ["KB", "MB", "GB", "TB"];

/** A number of bytes. */
export function bytes(size) {
  if (size < 1024) return `${number(size)} B`;
  let value = size / 1024;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${number(Number(value.toFixed(unit && value < 100 ? 1 : 0)))} ${UNITS[unit]}`;
}
