// Asking again and again, not while nobody looks at the page.

/**
 * Calls `work()` (async) now, and again `seconds()` after each time that it ended; a hidden page waits until it is
 * shown. `work` handles its own errors. Returns {now, stop}; now: at once, or once more after the call under way.
 */
export function repeat(work, seconds) {
  let timer = null;
  let running = false;
  let wanted = false;
  let stopped = false;
  async function now() {
    clearTimeout(timer);
    if (stopped) return;
    if (running) {
      wanted = true;
      return;
    }
    running = true;
    try {
      do {
        wanted = false;
        await work();
      } while (wanted && !stopped);
    } finally {
      running = false;
      if (!stopped && !document.hidden) timer = setTimeout(now, seconds() * 1000);
    }
  }
  const seen = () => (document.hidden ? clearTimeout(timer) : now());
  document.addEventListener("visibilitychange", seen);
  now();
  return {
    now,
    stop() {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}
