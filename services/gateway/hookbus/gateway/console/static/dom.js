// Elements from data. Text is only ever text: nothing here, or anywhere in the console, parses HTML.

const SWITCHES = new Set(["disabled", "checked", "required", "hidden", "selected", "open", "autofocus"]);

/** An element. `props`: `class`, `on: {event: handler}`, `style: {property: value}`, anything else an attribute. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (name === "style") for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    else if (SWITCHES.has(name)) element.toggleAttribute(name, Boolean(value));
    else element.setAttribute(name, String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** An element of a picture; `props` are attributes. */
export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** What an element holds, anew. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** A link within the console; main.js follows it without a load. */
export function link(path, text, props = {}) {
  return h("a", { ...props, href: path === "" ? base() : `${base()}/${path}` }, text);
}

/** A path below the console from parts that may hold anything. */
export function pathOf(...parts) {
  return parts.map((part) => encodeURIComponent(part)).join("/");
}

export function base() {
  return document.documentElement.dataset.base;
}
