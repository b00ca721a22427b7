// Whom a face may be given to: somebody who is there, or somebody new by the name that was typed.

import { persons } from "../lib/dialogs.js";
import { t } from "../lib/texts.js";

const MOST = 7;
const plain = (name) => name.normalize("NFC").toLocaleLowerCase();

/** Suggestions as of lib/dialogs.js; the one of a new person has the value null. */
export const personsOrNew = (collection) => async (text, signal) => {
  const found = (await persons(collection)(text, signal)).slice(0, MOST);
  if (!text || found.some((item) => plain(item.label) === plain(text))) return found;
  return [...found, { value: null, label: text, detail: t("viewer.new_person") }];
};
