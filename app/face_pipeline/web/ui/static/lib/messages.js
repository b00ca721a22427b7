// Short messages in a corner: what was done, with Undo, or what went wrong.

import { byId, h, iconButton } from "./dom.js";
import { t } from "./texts.js";
import { inWords } from "./words.js";

const SHOWN = 6000;
const SHOWN_WITH_ACTION = 12_000;
const MOST = 4;
const places = byId("messages");

/**
 * Shows `text` (a text, or nodes as of tx()). Options: `kind` ("info", "good", "bad"); `undo`: a function that takes
 * it back, may be async; `action` {text, run}. It stays while it is hovered or focused. Returns a function that closes it.
 */
export function tell(text, { kind = "info", undo = null, action = null } = {}) {
  const acts = undo ? { text: t("frame.undo"), run: undo } : action;
  const words = h("p", { class: "message-text" }, text);
  const message = h("div", { class: "message", "data-kind": kind }, words);
  if (acts) {
    message.append(h("button", {
      type: "button", class: "link",
      onclick: async (event) => {
        event.target.disabled = true;
        try {
          await acts.run();
          close();
        } catch (error) {
          close();
          fail(error);
        }
      },
    }, acts.text));
  }
  message.append(iconButton("close", t("frame.close_message"), () => close()));
  let timer = null;
  const stay = () => clearTimeout(timer);
  const leave = () => {
    stay();
    timer = setTimeout(close, acts ? SHOWN_WITH_ACTION : SHOWN);
  };
  function close() {
    stay();
    message.remove();
    if (!places.children.length && places.matches(":popover-open")) places.hidePopover();
  }
  message.addEventListener("mouseenter", stay);
  message.addEventListener("focusin", stay);
  message.addEventListener("mouseleave", () => !message.contains(document.activeElement) && leave());
  message.addEventListener("focusout", leave);
  while (places.children.length >= MOST) places.firstChild.remove();
  // A live region speaks of what comes into it: the words come in once it is there.
  words.remove();
  places.append(message);
  raise();
  requestAnimationFrame(() => message.prepend(words));
  if (kind !== "bad") leave();
  return close;
}

// Above an open dialog, and inside it: what lies outside a modal dialog cannot be clicked.
function raise() {
  const dialog = [...document.querySelectorAll("dialog:modal")].at(-1);
  const home = dialog ?? document.body;
  if (places.parentNode !== home) {
    home.append(places);
    // First of its listeners: the dialog may be removed by the next one.
    dialog?.addEventListener("close", raise, { once: true, capture: true });
  }
  if (!places.showPopover) return;
  if (places.matches(":popover-open")) places.hidePopover();
  if (places.children.length) places.showPopover();
}

/** Says what went wrong: an ApiError or any other. */
export const fail = (error) => tell(inWords(error), { kind: "bad" });
