// Small pictures of files that are not uploaded yet: made one at a time, of rows that are in view, and only so many
// are held. What a browser cannot show (HEIC) stays its file's ending.

const SIDE = 88;
// Of 31 kB each.
const HELD = 150;

const sources = new WeakMap(); // canvas -> () => Promise(File or undefined)
const inView = new Set();
const drawn = new Set();
const queue = [];
let active = false;

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) inView.add(target);
    else inView.delete(target);
    if (isIntersecting && !drawn.has(target)) queue.push(target);
  }
  next();
}, { rootMargin: "200px" });

/** A canvas for the picture of what `source()` resolves to; `none()`: there is none. */
export function thumbnail(source, none) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 0;
  sources.set(canvas, { source, none });
  seen.observe(canvas);
  return canvas;
}

/** The row of `canvas` is gone. */
export function drop(canvas) {
  seen.unobserve(canvas);
  inView.delete(canvas);
  drawn.delete(canvas);
}

async function next() {
  if (active) return;
  active = true;
  while (queue.length) {
    const canvas = queue.pop();
    if (inView.has(canvas) && !drawn.has(canvas)) await draw(canvas);
  }
  active = false;
}

async function draw(canvas) {
  const { source, none } = sources.get(canvas);
  drawn.add(canvas);
  try {
    const bitmap = await createImageBitmap(await source(), { resizeWidth: SIDE * 1.5, resizeQuality: "low" });
    const side = Math.min(bitmap.width, bitmap.height);
    canvas.width = canvas.height = SIDE;
    canvas.getContext("2d").drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
    bitmap.close();
  } catch {
    none();
  }
  for (const old of drawn) {
    if (drawn.size <= HELD) break;
    if (inView.has(old)) continue;
    old.width = old.height = 0;
    drawn.delete(old);
  }
}
