// Where photos come from: dropped anywhere on a page, folders too, and pasted.

import { byId } from "../lib/dom.js";

// Folders within folders; a link back to one of them ends here.
const DEEPEST = 16;

const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

// Places of a page with a use of their own for a photo.
const otherZone = (target) => target.closest?.(".zone:not(#upload-zone)");

/**
 * Calls `take(files, {folder, unread})` for what is dropped on the page or pasted; `folder`: a folder was among it, and
 * `unread` files of it could not be opened. `hint(shown)` shows and hides what stands over the page meanwhile.
 */
export function takeDrops(take, hint) {
  let over = false;
  const show = (shown) => {
    if (over !== shown) hint((over = shown));
  };
  addEventListener("dragover", (event) => {
    event.preventDefault();
    show(hasFiles(event) && !otherZone(event.target));
  });
  // Towards no element: the pointer has left the window.
  addEventListener("dragleave", (event) => event.relatedTarget === null && show(false));
  addEventListener("drop", async (event) => {
    show(false);
    if (otherZone(event.target)) return;
    event.preventDefault();
    // The list is emptied once this handler waits.
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const plain = [...event.dataTransfer.files];
    if (!entries.some((entry) => entry.isDirectory)) return plain.length && take(plain, { folder: false, unread: 0 });
    const found = { files: [], unread: 0 };
    await open(entries, found, 0);
    return take(found.files, { folder: true, unread: found.unread });
  });
  document.addEventListener("paste", (event) => {
    const types = event.target.closest?.("input:not([type=file]), textarea");
    // On Search, a photo that is pasted is one to search for.
    const elsewhere = byId("main").dataset.page === "search" && !byId("uploads-drawer").open;
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    if (types || elsewhere || event.defaultPrevented || !files.length) return;
    event.preventDefault();
    take(files.map(withName), { folder: false, unread: 0 });
  });
}

// Every picture that is pasted is called image.png.
function withName(file, index) {
  if (file.name && !/^image\.\w+$/.test(file.name)) return file;
  const now = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replaceAll(":", ".").replace("T", " ");
  return new File([file], `pasted ${now}${index ? ` ${index + 1}` : ""}.${file.type.slice(6).replace("jpeg", "jpg")}`, { type: file.type });
}

async function open(entries, found, depth) {
  for (const entry of entries) {
    if (entry.name.startsWith(".")) continue;
    try {
      if (!entry.isDirectory) found.files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      else if (depth < DEEPEST) await open(await list(entry.createReader()), found, depth + 1);
    } catch {
      found.unread += 1;
    }
  }
}

async function list(reader) {
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return all;
    all.push(...some);
  }
}
