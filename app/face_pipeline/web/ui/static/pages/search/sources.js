// Where a photo comes from: a file, the clipboard, the camera.

import { fail, tell } from "../../lib/messages.js";
import { t } from "../../lib/texts.js";
import { takePicture } from "./camera.js";
import { fromClipboard } from "./photo.js";

/** Makes the buttons of `zone` work; `take(file)`. */
export function startSources(zone, take) {
  zone.querySelector("[data-source=camera]").addEventListener("click", async () => {
    const picture = await takePicture();
    if (picture) take(picture);
  });
  const paste = zone.querySelector("[data-source=paste]");
  // Not every browser lets a page look at the clipboard; its own keys work in each.
  paste.addEventListener("click", async () => {
    try {
      if (!navigator.clipboard?.read) return tell(t("search.paste_keys"));
      const file = await fromClipboard(await navigator.clipboard.read());
      if (file) take(new File([file], t("search.pasted"), { type: file.type }));
      else tell(t("search.paste_none"));
    } catch (error) {
      if (error.name === "NotAllowedError") tell(t("search.paste_keys"));
      else fail(error);
    }
    return undefined;
  });
}

/** The photo of a paste event, or null after a word about why not. */
export async function pastedPhoto(event) {
  const items = [...(event.clipboardData?.items ?? [])];
  const file = await fromClipboard(items);
  if (file) return new File([file], t("search.pasted"), { type: file.type });
  if (items.length) tell(t("search.paste_none"));
  return null;
}

/** Opens the browser's own choice of files for the first place of `part` that has one. */
export const choosePhoto = (part) => [...part.querySelectorAll("input[type=file]")].find((each) => each.checkVisibility() || each.offsetParent)?.click();
