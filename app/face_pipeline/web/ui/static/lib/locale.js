// How numbers and dates are written: as where the browser is, if its language is that of the page.

const { lang } = document.documentElement;
export const locale = navigator.languages.find((each) => each.split("-")[0] === lang) ?? (lang || undefined);
