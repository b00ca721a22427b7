// A photo with a numbered box around each face. Boxes are in pixels of the upright photo, which is what
// is shown; they are drawn in percent, so that they fit at any size.

import { h, svg } from "./dom.js";
import { ready } from "./pictures.js";
import { t } from "./texts.js";

// A number stands above its box, except where there is no room.
const ROOM_ABOVE = 0.07;

/**
 * The photo at `url` with a box for each of `faces`. Size in pixels is `size` ({width, height}) or, without
 * it, the photo's own once it is loaded. Where the browser cannot show it, `another()` gives a second address; while
 * no worker has made that, it is waited for.
 * Returns {figure, mark(index or null)}.
 */
export function boxedPhoto(url, alt, faces, { size = null, another = null, onPick = () => {}, onBroken = () => {} } = {}) {
  const overlay = svg("svg", { class: "boxes", "aria-hidden": "true", focusable: "false" });
  const image = h("img", { class: "boxed-image", alt });
  let second = another;
  let waited = false;
  async function waitedFor() {
    // Others are of this page's memory.
    if (waited || !image.src.startsWith(location.origin)) return false;
    waited = true;
    const note = h("p", { class: "status not-ready", role: "status" }, t("words.reasons.picture_not_ready"));
    figure.append(note);
    const address = image.src;
    const made = await ready(address, () => note.isConnected);
    // The page shows another photo.
    if (!note.isConnected) return true;
    note.remove();
    if (made) image.src = address;
    return made;
  }
  const figure = h("div", { class: "boxed" }, image, overlay);
  image.addEventListener("error", async () => {
    const give = second;
    second = null;
    try {
      if (give) image.src = await give();
      else if (!(await waitedFor())) onBroken();
    } catch {
      onBroken();
    }
  });
  const boxes = [];
  const draw = ({ width, height }) => {
    faces.forEach((face, index) => boxes.push(box(face, index, width, height)));
    overlay.append(...boxes);
    boxes.forEach((each, index) => each.addEventListener("click", () => onPick(index)));
  };
  image.addEventListener("load", () => draw(size ?? { width: image.naturalWidth, height: image.naturalHeight }));
  image.src = url;
  const mark = (index) => boxes.forEach((each, other) => each.classList.toggle("marked", other === index));
  return { figure, mark };
}

function box({ bbox: [x1, y1, x2, y2] }, index, width, height) {
  const x = (value) => `${(value / width) * 100}%`;
  const y = (value) => `${(value / height) * 100}%`;
  const rectangle = (name) =>
    svg("rect", { class: name, x: x(x1), y: y(y1), width: x(x2 - x1), height: y(y2 - y1), rx: 3 });
  const number = String(index + 1);
  const lift = y1 / height > ROOM_ABOVE ? -26 : 4;
  const wide = 14 + number.length * 9;
  const tag = svg("svg", { class: "tag", x: x(x1), y: y(y1) },
    svg("g", { transform: `translate(${lift < 0 ? 0 : 4} ${lift})` },
      svg("rect", { class: "tag-back", width: wide, height: 22, rx: 4 }),
      svg("text", { class: "tag-text", x: wide / 2, y: 16 }, number)));
  return svg("g", { class: "face-box", "data-face": index }, rectangle("box-edge"), rectangle("box"), tag);
}
