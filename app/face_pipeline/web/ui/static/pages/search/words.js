// Numbers of a search as people read them.

import { language } from "../../lib/texts.js";

const two = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** A cosine, or another number around 1, with two places: 0.62. */
export const similarity = (value) => two.format(value);
