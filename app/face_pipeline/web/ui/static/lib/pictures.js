// Pictures that workers make. One that is not ready yet shows a clock instead, and is asked for again.

import { cropUrl, waitOf } from "./api.js";
import { h, icon } from "./dom.js";
import { t } from "./texts.js";

const NOT_READY = new Set([429, 503]);
// Seconds between two tries where the server names none; and how many there are.
const WAIT = 5;
const TRIES = 20;

const later = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Whether a picture came to be at `address`; false: there will be none, or `waited()` says that nobody waits. */
export async function ready(address, waited) {
  for (let tries = 0; tries < TRIES && waited(); tries += 1) {
    const response = await fetch(address, { credentials: "same-origin" }).catch(() => null);
    if (response?.ok) return true;
    if (response && !NOT_READY.has(response.status)) return false;
    await later(waitOf(response?.headers.get("Retry-After")) ?? WAIT);
  }
  return false;
}

/** An image of what is at `address`; `none()`: what stands in its place where there is none. */
export function picture(address, attributes = {}, none = () => h("span", { class: attributes.class })) {
  const image = h("img", { src: address, alt: "", ...attributes });
  image.addEventListener("error", async () => {
    const label = t("words.reasons.picture_not_ready");
    const clock = h("span", { class: `${attributes.class ?? ""} not-ready`, role: "img", "aria-label": label, title: label }, icon("clock"));
    image.replaceWith(clock);
    if (!(await ready(address, () => clock.isConnected))) return clock.replaceWith(none());
    image.addEventListener("error", () => image.replaceWith(none()), { once: true });
    image.loading = "eager";
    image.src = address;
    clock.replaceWith(image);
  }, { once: true });
  return image;
}

/** The picture of a face. */
export const crop = (faceId, attributes) => picture(cropUrl(faceId), attributes);

/** A round picture of a face; without an id an outline. */
export function avatar(faceId, size = 48) {
  const outline = () => icon("people");
  const shown = faceId
    ? picture(cropUrl(faceId, Math.min(512, Math.max(32, size * 2))), { loading: "lazy", width: size, height: size }, outline)
    : outline();
  return h("span", { class: "avatar", "data-size": size > 64 ? "large" : size < 40 ? "small" : null }, shown);
}
