// Every text comes from the files in texts/LANGUAGE; a key is FILE.NAME.

import { language, texts } from "../texts.js";
import { h } from "./dom.js";
import { locale } from "./locale.js";

export { language };

const plurals = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(locale);

/** A whole or broken number as people write it. */
export const number = (value) => numbers.format(value);

const shown = (value) => (typeof value === "number" ? number(value) : String(value));

function find(key, values) {
  const text = texts[key];
  if (text === undefined) throw new Error(`there is no text ${key}`);
  return typeof text === "string" ? text : (text[plurals.select(values.n)] ?? text.other);
}

export const has = (key) => key in texts;

/** The text of `key` with its values; `n` chooses between one and several. */
export const t = (key, values = {}) => find(key, values).replace(/\{(\w+)\}/g, (_, name) => shown(values[name]));

/** The same as nodes: a value may be an element (names stand in <bdi>), and what is between backticks is code. */
export function tx(key, values = {}) {
  return find(key, values).split(/(\{\w+\}|`[^`]+`)/).filter(Boolean).map((piece) => {
    if (piece.startsWith("`")) return h("code", {}, piece.slice(1, -1));
    if (!/^\{\w+\}$/.test(piece)) return piece;
    const value = values[piece.slice(1, -1)];
    return value instanceof Node ? value : shown(value);
  });
}

/** A text that the server wrote, as nodes: what is between backticks is code. */
export const coded = (text) => text.split(/(`[^`]+`)/).filter(Boolean).map((piece) => (piece.startsWith("`") ? h("code", {}, piece.slice(1, -1)) : piece));
