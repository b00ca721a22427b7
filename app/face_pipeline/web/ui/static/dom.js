// Making elements, and showing values the way people read them.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

export const percent = (share) => `${Math.round(Math.max(0, share) * 100)}\u202f%`;

export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

export function bytes(size) {
  if (size < 1024) return `${size} B`;
  if (size < 1024 ** 2) return `${Math.round(size / 1024)} KB`;
  return `${(size / 1024 ** 2).toFixed(1).replace(".0", "")} MB`;
}

export function seconds(value) {
  return value < 1 ? `${Math.max(1, Math.round(value * 1000))} ms` : `${value.toFixed(1)} s`;
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const absolute = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

export function time(iso) {
  const date = new Date(iso);
  const age = (Date.now() - date) / 1000;
  let text = absolute.format(date);
  if (age < 60) text = "just now";
  else if (age < 3600) text = relative.format(-Math.round(age / 60), "minute");
  else if (age < 86400) text = relative.format(-Math.round(age / 3600), "hour");
  return h("time", { datetime: iso, title: absolute.format(date) }, text);
}
