// What the browser keeps of uploads, so that a reload, another page or a crash loses none: the list, and the files
// that are not sent yet. Where a browser keeps nothing (private windows of some), the page goes on without.

const NAME = "face-uploads";
const STORES = ["items", "files", "meta"];
// A browser gives a site a share of the disk; most of that share is left to it.
const MOST_BYTES = 4 * 1024 ** 3;
const SHARE = 0.4;

let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("items", { keyPath: "id" });
      request.result.createObjectStore("files");
      request.result.createObjectStore("meta");
    };
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      request.result.onversionchange = () => request.result.close();
      resolve(request.result);
    };
  });
  return opened;
}

/** Runs `work(items, files, meta)` in one transaction; resolves to the result of the request that it gives. */
async function within(mode, work) {
  const transaction = (await database()).transaction(STORES, mode);
  const request = work(...STORES.map((name) => transaction.objectStore(name)));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

const orElse = (value) => () => value;

/** The records of all items. */
export const all = () => within("readonly", (items) => items.getAll()).catch(orElse([]));

/** Writes changes of items, each with its id; one of an item that is gone changes nothing. */
export const save = (changes) =>
  within("readwrite", (items) => {
    for (const change of changes) {
      const found = items.get(change.id);
      found.onsuccess = () => {
        if (found.result || change.name !== undefined) items.put({ ...found.result, ...change });
      };
    }
  }).catch(orElse(null));

export const remove = (ids) =>
  within("readwrite", (items, files) => {
    for (const id of ids) {
      items.delete(id);
      files.delete(id);
    }
  }).catch(orElse(null));

/** Whether the file is kept now. */
export const keep = (id, file) => within("readwrite", (_, files) => void files.put(file, id)).then(orElse(true), orElse(false));

export const file = (id) => within("readonly", (_, files) => files.get(id)).catch(orElse(undefined));

export const forget = (id) => within("readwrite", (_, files) => void files.delete(id)).catch(orElse(null));

export const note = (name, value) => within("readwrite", (_items, _files, meta) => void meta.put(value, name)).catch(orElse(null));

export const noted = (name) => within("readonly", (_items, _files, meta) => meta.get(name)).catch(orElse(undefined));

/** How many bytes of files may be kept in all. */
export async function room() {
  try {
    const { quota } = await navigator.storage.estimate();
    return Math.min(MOST_BYTES, quota * SHARE);
  } catch {
    return MOST_BYTES / 16;
  }
}
