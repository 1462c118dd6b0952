// The list of services on the left.

import { el } from "./elements.js";
import { kindOf, serviceState, words } from "./states.js";

const list = document.getElementById("services");
const count = document.getElementById("count");
const none = document.getElementById("none");
const find = document.getElementById("words");
const kind = document.getElementById("kind");

const rows = new Map(); // by the service's id: {document, state, item}
let chosen = null;

export const stateOf = (document) => serviceState(document.TEMPLATE.BODY.state);

export function clear() {
  rows.clear();
  list.replaceChildren();
}

export const get = (id) => rows.get(id)?.document;

// put shows a service as it was read, the newest first.
export function put(document) {
  const id = Number(document.ID);
  const row = rows.get(id) ?? { item: el("li") };
  const known = rows.has(id);
  rows.set(id, Object.assign(row, { document, state: stateOf(document) }));
  draw(id, row);
  if (!known) {
    const before = [...list.children].find((item) => Number(item.dataset.id) < id);
    list.insertBefore(row.item, before ?? null);
  }
  sieve();
}

// putAll shows services in place of all that were there.
export function putAll(documents) {
  clear();
  for (const document of documents.toSorted((a, b) => b.ID - a.ID)) {
    const row = { document, state: stateOf(document), item: el("li") };
    rows.set(Number(document.ID), row);
    draw(Number(document.ID), row);
  }
  list.replaceChildren(...[...rows.values()].map((row) => row.item));
  sieve();
}

export function remove(id) {
  rows.get(id)?.item.remove();
  rows.delete(id);
  sieve();
}

// choose marks a service as the one that is shown.
export function choose(id) {
  const before = rows.get(chosen);
  chosen = id;
  for (const row of [before, rows.get(id)]) {
    if (row) draw(Number(row.document.ID), row);
  }
}

function draw(id, row) {
  const { document, state, item } = row;
  const focused = item.contains(globalThis.document.activeElement);
  const roles = document.TEMPLATE.BODY.roles ?? [];
  const have = roles.reduce((sum, role) => sum + (role.nodes ?? []).length, 0);
  const want = roles.reduce((sum, role) => sum + role.cardinality, 0);
  item.dataset.id = id;
  item.replaceChildren(el("a", { href: `#/service/${id}`, "aria-current": id === chosen ? "true" : undefined },
    el("span", { class: "name" }, document.NAME),
    el("span", { class: `state ${kindOf(state)}` }, words(state)),
    el("span", { class: "quiet" }, `${id} · ${document.UNAME}`),
    el("span", { class: "quiet size" }, `${have} of ${want} VMs`)));
  if (focused) item.firstChild.focus();
}

function sieve() {
  const wanted = find.value.trim().toLowerCase();
  const kinds = kind.value.split(" ").filter(Boolean);
  let shown = 0;
  for (const [id, { document, state, item }] of rows) {
    const text = `${id} ${document.NAME} ${document.UNAME}`.toLowerCase();
    item.hidden = !text.includes(wanted) || (kinds.length > 0 && !kinds.includes(kindOf(state)));
    if (!item.hidden) shown += 1;
  }
  count.textContent = shown === rows.size ? `(${rows.size})` : `(${shown} of ${rows.size})`;
  none.hidden = shown > 0;
  none.textContent = rows.size > 0 ? "No service fits." : "There are no services, or none that you may see.";
}

find.addEventListener("input", sieve);
kind.addEventListener("change", sieve);
