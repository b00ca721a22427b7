// Photos that are searched with: in this page's memory alone, shown as the service sees them.

import { post } from "../../lib/api.js";
import { h } from "../../lib/dom.js";

const limits = document.body.dataset;
const CROP_MARGIN = 0.35;
const QUALITY = 0.95;

/** {file, name, address}: a photo of somebody's disk, clipboard or camera. Raises {code} where it is too large to send. */
export async function pictureOf(file) {
  if (file.size > Number(limits.maxBytes)) throw Object.assign(new Error("too large"), { code: "too_large" });
  return { file, name: file.name || "photo", address: await addressOf(file) };
}

export const forget = (picture) => picture?.address && URL.revokeObjectURL(picture.address);

/** The picture that a search of this file looks for faces in, as a JPEG. */
export function rendition(file) {
  const form = new FormData();
  form.append("photo", file, file.name || "photo");
  return post("/renditions", form, { as: "blob" });
}

// Browsers show JPEGs as the service sees them. Of the rest the service makes a picture, if it can.
async function addressOf(file) {
  const start = new Uint8Array(await file.slice(0, 3).arrayBuffer());
  const isJpeg = start[0] === 0xff && start[1] === 0xd8 && start[2] === 0xff;
  return URL.createObjectURL(isJpeg ? file : await rendition(file).catch(() => file));
}

/** Another address of it, for a browser that cannot show the first. */
export async function anotherAddress(picture) {
  const made = URL.createObjectURL(await rendition(picture.file));
  forget(picture);
  picture.address = made;
  return made;
}

/** The first picture of a clipboard's `items` (of a paste, or as navigator.clipboard.read() gives them), or null. */
export async function fromClipboard(items) {
  for (const item of items) {
    if (item.kind === "file" && item.type.startsWith("image/")) return item.getAsFile();
    const type = item.types?.find((each) => each.startsWith("image/"));
    if (type) return item.getType(type);
  }
  return null;
}

/** A small picture of the face in `box`, drawn from the `image` that shows it; `frame`: width and height of the boxes' pixels. */
export function faceOf(image, [x1, y1, x2, y2], frame, size = 40) {
  const canvas = h("canvas", { class: "face-cut", width: size * 2, height: size * 2, "aria-hidden": "true" });
  const scale = image.naturalWidth / frame.width;
  const side = Math.max(x2 - x1, y2 - y1) * scale * 1.25;
  const [x, y] = [((x1 + x2) / 2) * scale - side / 2, ((y1 + y2) / 2) * scale - side / 2];
  canvas.getContext("2d").drawImage(image, x, y, side, side, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/**
 * The face with the number `index` alone, as a JPEG: a verification compares the largest face of a photo, and this is
 * how another one is chosen. Other faces that reach into the picture are painted over.
 */
export async function cutOut(image, faces, index) {
  const [x1, y1, x2, y2] = faces[index].bbox;
  const [wide, high] = [(x2 - x1) * CROP_MARGIN, (y2 - y1) * CROP_MARGIN];
  const left = Math.max(0, x1 - wide);
  const top = Math.max(0, y1 - high);
  const canvas = h("canvas", {
    width: Math.round(Math.min(image.naturalWidth, x2 + wide) - left), height: Math.round(Math.min(image.naturalHeight, y2 + high) - top),
  });
  const pen = canvas.getContext("2d");
  pen.drawImage(image, -left, -top);
  pen.fillStyle = "#808080";
  faces.forEach(({ bbox }, other) => {
    if (other !== index) pen.fillRect(bbox[0] - left, bbox[1] - top, bbox[2] - bbox[0], bbox[3] - bbox[1]);
  });
  // What lay under another's box is part of this face.
  pen.drawImage(image, x1, y1, x2 - x1, y2 - y1, x1 - left, y1 - top, x2 - x1, y2 - y1);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}
