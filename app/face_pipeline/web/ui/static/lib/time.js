// Times and durations as people say them.

import { h } from "./dom.js";
import { locale } from "./locale.js";
import { language, number, t } from "./texts.js";

const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const absolute = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const days = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const AGAIN = 30_000;

/** "3 minutes ago", "in 2 days"; a moment of another week is told by its date. */
export function ago(iso) {
  const away = (new Date(iso) - Date.now()) / 1000;
  const size = Math.abs(away);
  if (size < 60) return t("words.now");
  if (size < 3600) return relative.format(Math.round(away / 60), "minute");
  if (size < 86_400) return relative.format(Math.round(away / 3600), "hour");
  if (size < 7 * 86_400) return relative.format(Math.round(away / 86_400), "day");
  return absolute.format(new Date(iso));
}

/** Date and time in full. */
export const moment = (iso) => absolute.format(new Date(iso));

/** The day alone, for headings. */
export const day = (iso) => days.format(new Date(iso));

/** A <time> that says how long ago, and goes on saying it right. */
export const time = (iso) => h("time", { datetime: iso, title: moment(iso), "data-ago": true }, ago(iso));

/** A duration: "340 ms", "2.5 s", "4 min", "3 h". */
export function duration(seconds) {
  if (seconds < 1) return `${number(Math.max(1, Math.round(seconds * 1000)))} ms`;
  if (seconds < 60) return `${number(Number(seconds.toFixed(1)))} s`;
  if (seconds < 3600) return `${number(Math.round(seconds / 60))} min`;
  if (seconds < 172_800) return `${number(Math.round(seconds / 3600))} h`;
  return t("words.days", { n: Math.round(seconds / 86_400) });
}

setInterval(() => {
  if (document.hidden) return;
  for (const each of document.querySelectorAll("time[data-ago]")) each.textContent = ago(each.dateTime);
}, AGAIN);
