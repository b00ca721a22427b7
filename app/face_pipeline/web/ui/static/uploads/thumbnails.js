// Small pictures of files that are not uploaded yet, made only for rows that come into view.

const SIDE = 88;
const AT_ONCE = 2;

const files = new WeakMap();
const queue = [];
let active = 0;

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    queue.push(target);
  }
  next();
}, { rootMargin: "200px" });

export function thumbnail(file) {
  const canvas = document.createElement("canvas");
  canvas.className = "thumb";
  canvas.width = canvas.height = SIDE;
  canvas.setAttribute("aria-hidden", "true");
  files.set(canvas, file);
  seen.observe(canvas);
  return canvas;
}

async function next() {
  if (active >= AT_ONCE || queue.length === 0) return;
  active += 1;
  const canvas = queue.shift();
  try {
    const bitmap = await createImageBitmap(files.get(canvas));
    const side = Math.min(bitmap.width, bitmap.height);
    const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
    canvas.getContext("2d").drawImage(bitmap, left, top, side, side, 0, 0, SIDE, SIDE);
    bitmap.close();
  } catch {
    canvas.classList.add("none");
  }
  active -= 1;
  next();
}
