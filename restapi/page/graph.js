// The graph of a service's roles: from left to right, each behind all that it
// waits for.

import { svg } from "./elements.js";
import { kindOf, roleState, words } from "./states.js";

const box = { width: 168, height: 70, across: 56, down: 18, margin: 8 };

// levels sorts roles by the longest way to them from one that waits for nobody.
function levels(roles, straight) {
  const byName = new Map(roles.map((role) => [role.name, role]));
  const level = new Map();
  const find = (role, above) => {
    if (level.has(role.name)) return level.get(role.name);
    const parents = straight ? (role.parents ?? []).map((name) => byName.get(name)).filter((parent) => parent && !above.includes(parent)) : [];
    const found = parents.length ? 1 + Math.max(...parents.map((parent) => find(parent, [...above, role]))) : 0;
    level.set(role.name, found);
    return found;
  };
  const sorted = [];
  for (const role of roles) {
    const at = find(role, [role]);
    (sorted[at] ??= []).push(role);
  }
  return sorted;
}

function place(columns) {
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const step = box.height + box.down;
  const places = new Map();
  columns.forEach((column, x) => column.forEach((role, y) => places.set(role.name, {
    x: box.margin + x * (box.width + box.across),
    y: box.margin + (y + (tallest - column.length) / 2) * step,
  })));
  return { places, width: columns.length * (box.width + box.across) - box.across + 2 * box.margin, height: tallest * step - box.down + 2 * box.margin };
}

function edge(from, to) {
  const start = { x: from.x + box.width, y: from.y + box.height / 2 };
  const end = { x: to.x - 7, y: to.y + box.height / 2 };
  const bend = (end.x - start.x) / 2;
  return svg("path", { class: "edge", d: `M${start.x} ${start.y}c${bend} 0 ${bend} ${end.y - start.y} ${end.x - start.x} ${end.y - start.y}`, "marker-end": "url(#arrow)" });
}

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function node(role, at) {
  const state = roleState(role.state);
  const line = (y, text, name) => svg("text", { x: at.x + 12, y: at.y + y, class: name }, text);
  return svg("g", { class: kindOf(state) },
    svg("title", {}, `${role.name}: ${words(state)}, ${(role.nodes ?? []).length} of ${role.cardinality} VMs`),
    svg("rect", { x: at.x, y: at.y, width: box.width, height: box.height, rx: 9 }),
    line(23, shortened(role.name, 19), "role"),
    line(42, `${(role.nodes ?? []).length} of ${role.cardinality} ${role.type === "vr" ? "router VMs" : "VMs"}`),
    line(59, state.replaceAll("_", " "), "is"));
}

// graph draws the roles of a service's body.
export function graph(body) {
  const straight = body.deployment === "straight";
  const { places, width, height } = place(levels(body.roles, straight));
  const edges = straight ? body.roles.flatMap((role) => (role.parents ?? [])
    .filter((parent) => places.has(parent)).map((parent) => edge(places.get(parent), places.get(role.name)))) : [];
  const label = straight ? "each role starts when those to its left that point to it are running" : "all roles start at once";
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Graph of the roles: ${label}. The table below says the same.` },
    svg("defs", {}, svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 1, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
      svg("path", { class: "arrow", d: "M0 0L8 4L0 8z" }))),
    edges, body.roles.map((role) => node(role, places.get(role.name))));
}
