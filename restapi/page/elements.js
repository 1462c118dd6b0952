// Making elements. Nothing here, or anywhere on the page, reads text as HTML.

// el makes an element: el("p", {class: "quiet"}, "text", anotherElement).
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// svg makes an element of a drawing.
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== ""));
  return element;
}

// table makes a table: columns are [{title, number}], rows arrays of cells, the
// first of which names the row.
export function table(caption, columns, rows) {
  const kind = (column) => (column.number ? "number" : undefined);
  const head = columns.map((column) => el("th", { scope: "col", class: kind(column) }, column.title));
  const body = rows.map((cells) => el("tr", {}, cells.map((cell, i) =>
    i === 0 ? el("th", { scope: "row" }, cell) : el("td", { class: kind(columns[i]) }, cell))));
  return el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
}
