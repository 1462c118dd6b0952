// Making elements. Nothing here, or anywhere on the page, reads text as HTML.

import { kindOf, words } from "./states.js";

// el makes an element: el("p", {class: "quiet"}, "text", anotherElement). A function as an
// attribute listens: {onclick: f}.
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// svg makes an element of a drawing.
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  const shown = children.flat(2).filter((child) => child !== undefined && child !== null && child !== "");
  element.append(...shown.map((child) => (typeof child === "string" ? child.replace(turning, "\ufffd") : child)));
  return element;
}

// turning matches the characters that would turn round, or end, the text behind a name.
const turning = /[\u202a-\u202e\u2066-\u2069]/g;

// redraw replaces what an element has in it, except for the children that would look the same:
// what is pressed, marked, being read or has the focus meanwhile stays.
export function redraw(element, ...children) {
  const refocus = keep(element);
  let at = element.firstChild;
  for (const child of [...fill(document.createDocumentFragment(), {}, children).childNodes]) {
    const among = (fits) => {
      let old = at;
      while (old && !fits(old)) old = old.nextSibling;
      return old;
    };
    const same = among((old) => old.isEqualNode(child));
    const old = same ?? among((each) => refills(each, child));
    if (!old) {
      element.insertBefore(child, at);
      continue;
    }
    while (at !== old) at = removed(at);
    at = at.nextSibling;
    if (!same) redraw(old, ...child.childNodes);
  }
  while (at) at = removed(at);
  refocus();
}

const holders = ["SECTION", "TABLE", "THEAD", "TBODY", "TR"]; // nothing listens to them

// refills reports whether an element stays and gets the children of another: a row where it has the same head.
function refills(old, child) {
  return holders.includes(child.nodeName) && old.cloneNode().isEqualNode(child.cloneNode()) && (child.nodeName !== "TR" || old.firstChild.isEqualNode(child.firstChild));
}

// keep notes what has the focus within an element, and returns a function that gives it to the one drawn in its place
// where it is lost; or else to the role that it was in, or to the heading of its part of the page.
export function keep(element) {
  const had = document.activeElement;
  const region = element.contains(had) && had.closest("section[aria-labelledby]");
  if (!region || had === element) return () => {};
  const name = (each) => each.closest("[data-name]")?.dataset.name ?? "";
  const key = (each) => [each.tagName, name(each), each.dataset.key ?? each.getAttribute("href") ?? each.textContent].join(" ");
  const [was, role] = [key(had), name(had)];
  return () => {
    if (had.isConnected || document.activeElement !== document.body) return;
    const again = [...region.querySelectorAll("a, button")].find((each) => key(each) === was);
    focusOn(again ?? region.querySelector(`section[data-name="${CSS.escape(role)}"]`) ?? part(region.getAttribute("aria-labelledby")));
  };
}

// focusOn gives the focus to a control, or to a heading or a role, which the Tab key leaves out.
export function focusOn(element) {
  if (!element.matches("a, button")) element.tabIndex = -1;
  element.focus({ preventScroll: true });
}

function removed(node) {
  const { nextSibling } = node;
  node.remove();
  return nextSibling;
}

export const part = (id) => document.getElementById(id);

// state is a state with its sign and colour.
export const state = (name, kind = kindOf(name)) => el("span", { class: `state ${kind}` }, words(name));

// table makes a table: columns are [{title, number}], rows arrays of cells, the
// first of which names the row. The roles stay where a narrow page lays it out as a list.
export function table(caption, columns, rows) {
  const cell = (content, i) => el(i === 0 ? "th" : "td", {
    role: i === 0 ? "rowheader" : "cell", scope: i === 0 ? "row" : undefined, class: columns[i].number ? "number" : undefined, "data-title": i === 0 ? undefined : columns[i].title,
  }, content);
  const head = columns.map((column) => (column.title ? el("th", { role: "columnheader", scope: "col", class: column.number ? "number" : undefined }, column.title) : el("td", { role: "cell" })));
  return el("table", { role: "table" }, el("caption", {}, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)),
    el("tbody", { role: "rowgroup" }, rows.map((cells) => el("tr", { role: "row" }, cells.map(cell)))));
}

// textOf is an input's value as people write it: those of type text64 are sent and kept as base64, but for the template's default.
export function textOf({ type, value }) {
  if (type !== "text64" || !value) return value ?? "";
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(atob(value), (each) => each.codePointAt(0)));
  } catch {
    return value; // another client has sent it as it is
  }
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

// when is a time, with the date where it is not today's.
export function when(text) {
  const time = new Date(text);
  const today = time.toDateString() === new Date().toDateString();
  return el("time", { datetime: text, title: time.toString() }, today ? clock.format(time) : `${day.format(time)}, ${clock.format(time)}`);
}

// age is how long ago a time was, in one unit; it is drawn again every minute.
export function age(text) {
  const seconds = Math.max(0, (Date.now() - new Date(text)) / 1000);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return "under 1 min";
}
