// Making elements. Data become text nodes and attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Attributes: `on…` are listeners (`onclick`), true is an empty attribute, null, undefined and false are
 * left out. Children: nodes, texts, numbers, lists of these; null, undefined and false are left out.
 */
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
  element.append(...kept(children));
  return element;
}

const kept = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** Puts `children` (as for h) in place of what `element` holds. */
export function put(element, ...children) {
  element.replaceChildren(...kept(children));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** An icon of icons.svg; it says nothing to screen readers. */
export const icon = (name) =>
  svg("svg", { class: "icon", "aria-hidden": "true", focusable: "false" }, svg("use", { href: `${document.body.dataset.icons}#${name}` }));

/** A button that is an icon alone; `label` is what it is called. */
export const iconButton = (name, label, onclick, attributes = {}) =>
  h("button", { type: "button", class: "quiet icon-only", "aria-label": label, title: label, onclick, ...attributes }, icon(name));

/** A name that people gave, in its own direction of writing. */
export const named = (name, attributes = {}) => h("bdi", { dir: "auto", title: name, ...attributes }, name);
