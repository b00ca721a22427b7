// Looking closer: wheel, two fingers, double click and keys make the photo larger where somebody points; drawn along
// it shows its other parts. At its first size a stroke to the side is a swipe.

const MOST = 8;
const STEP = 1.4;
const SWIPE = 60;
// A press that moves so little, in pixels, is a click.
const STILL = 5;

/**
 * `stage`: what is seen of it; `content()`: the element to lay, or null; `size()`: {width, height} of the photo, whose
 * ratio it has; `swiped(step)`; `changed(share)`: how large it is now, of its first size.
 * Returns {fit(), by(factor), reset(), pan(x, y), scale()}.
 */
export function zoom(stage, { content, size, swiped, changed }) {
  let scale = 1;
  let [x, y] = [0, 0];
  const fingers = new Map();
  let press = null;

  // The photo as large as the stage has room, in its middle.
  function first() {
    const { width, height } = size();
    const share = Math.min(stage.clientWidth / width, stage.clientHeight / height, 1.5);
    return { width: width * share, height: height * share };
  }

  function lay() {
    const element = content();
    if (!element || !stage.clientWidth) return;
    const { width, height } = first();
    const [wide, high] = [width * scale, height * scale];
    x = within(x, wide, stage.clientWidth);
    y = within(y, high, stage.clientHeight);
    Object.assign(element.style, { width: `${wide}px`, height: `${high}px`, left: `${x}px`, top: `${y}px` });
    stage.toggleAttribute("data-zoomed", scale > 1);
    changed(scale);
  }

  // What is smaller than the stage stands in its middle; what is larger leaves no gap.
  const within = (at, length, room) => (length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, at)));

  function to(next, atX = stage.clientWidth / 2, atY = stage.clientHeight / 2) {
    const now = Math.min(MOST, Math.max(1, next));
    const factor = now / scale;
    [x, y] = [atX - (atX - x) * factor, atY - (atY - y) * factor];
    scale = now < 1.01 ? 1 : now;
    lay();
  }

  const place = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const between = () => {
    const [one, other] = [...fingers.values()];
    return { distance: Math.hypot(one[0] - other[0], one[1] - other[1]), middle: [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2] };
  };

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    to(scale * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), ...place(event));
  }, { passive: false });
  stage.addEventListener("dblclick", (event) => {
    if (!event.target.closest("button")) to(scale > 1 ? 1 : Math.max(2.5, Math.min(MOST, size().width / first().width)), ...place(event));
  });
  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button") || event.button) return;
    fingers.set(event.pointerId, place(event));
    press = { from: place(event), moved: false, touch: event.pointerType !== "mouse", pinched: fingers.size > 1 || press?.pinched };
  });
  stage.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const [from, now] = [fingers.get(event.pointerId), place(event)];
    if (!press.moved && Math.hypot(now[0] - press.from[0], now[1] - press.from[1]) > STILL) {
      press.moved = true;
      // Drawn on beyond the stage; and what it began on is not clicked.
      stage.setPointerCapture(event.pointerId);
    }
    const before = fingers.size === 2 ? between() : null;
    fingers.set(event.pointerId, now);
    if (before) {
      const { distance, middle } = between();
      [x, y] = [x + middle[0] - before.middle[0], y + middle[1] - before.middle[1]];
      to(scale * (distance / Math.max(1, before.distance)), ...middle);
    } else if (scale > 1 && press.moved) {
      [x, y] = [x + now[0] - from[0], y + now[1] - from[1]];
      lay();
    }
  });
  const up = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    const [wide, high] = place(event).map((each, at) => each - press.from[at]);
    const swipe = event.type === "pointerup" && press.touch && scale === 1 && !press.pinched && Math.abs(wide) > SWIPE && Math.abs(wide) > 1.5 * Math.abs(high);
    if (!fingers.size) press.pinched = false;
    if (swipe) swiped(wide < 0 ? 1 : -1);
  };
  stage.addEventListener("pointerup", up);
  stage.addEventListener("pointercancel", up);
  // What was drawn along was no click on a face.
  stage.addEventListener("click", (event) => {
    if (!press?.moved) return;
    event.stopPropagation();
    press.moved = false;
  }, true);
  new ResizeObserver(lay).observe(stage);

  return {
    fit() {
      scale = 1;
      lay();
    },
    by: (way) => to(scale * STEP ** way),
    pan(wide, high) {
      [x, y] = [x - wide * 80, y - high * 80];
      lay();
    },
    scale: () => scale,
  };
}
