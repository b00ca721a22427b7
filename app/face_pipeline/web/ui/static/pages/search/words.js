// Numbers of a search as people read them.

import { locale } from "../../lib/locale.js";

const two = new Intl.NumberFormat(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** A cosine, or another number around 1, with two places: 0.62. */
export const similarity = (value) => two.format(value);
