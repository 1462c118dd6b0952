// The graph of a service's roles, as the API has arranged it: from top to bottom, each
// below all that it waits for.

import { svg } from "./elements.js";
import { kindOf, words } from "./states.js";

const boxWidth = 192; // of a role with its gap, about
const smallest = 0.6; // of its size: a wider graph is scrolled

// columns is how many roles fit beside each other.
export const columns = (width) => Math.max(1, Math.floor(width / boxWidth));

function edge({ line }) {
  let path = `M${line[0].x} ${line[0].y}`;
  for (let i = 1; i < line.length; i++) {
    const [from, to] = [line[i - 1], line[i]];
    const end = i === line.length - 1 ? to.y - 7 : to.y;
    const bend = (end - from.y) / 2;
    path += `C${from.x} ${from.y + bend} ${to.x} ${end - bend} ${to.x} ${end}`;
  }
  return svg("path", { class: "edge", d: path, "marker-end": "url(#arrow)" });
}

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function box(role, at, size) {
  const line = (y, text, name) => svg("text", { x: 12, y, class: name }, text);
  return svg("a", { href: location.hash, class: kindOf(role.state), "data-key": role.name },
    svg("title", {}, `${role.name}: ${words(role.state)}, ${role.running} of ${role.wanted} VMs run`),
    svg("rect", { x: at.x, y: at.y, width: size.box_width, height: size.box_height, rx: 9 }),
    svg("svg", { x: at.x, y: at.y, width: size.box_width - 4, height: size.box_height },
      line(23, shortened(role.name, 18), "role"),
      line(42, `${role.running} of ${role.wanted} ${role.type === "vr" ? "router VMs" : "VMs"} run`),
      line(59, words(role.state), "is")));
}

// graph draws a service's roles; a box goes to its role in the table.
export function graph(service) {
  const drawn = service.graph;
  const order = service.deployment === "straight" ? "each role starts when those above that point to it are running" : "all roles start at once";
  const drawing = svg("svg", { viewBox: `0 0 ${drawn.width} ${drawn.height}`, width: drawn.width, height: drawn.height, role: "group", "aria-label": `Graph of the roles: ${order}. The table below has the same information.` },
    svg("defs", {}, svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 1, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
      svg("path", { class: "arrow", d: "M0 0L8 4L0 8z" }))),
    drawn.edges.map(edge), service.roles.map((role, i) => box(role, drawn.boxes[i], drawn)));
  drawing.style.minWidth = `${smallest * drawn.width}px`;
  return drawing;
}
