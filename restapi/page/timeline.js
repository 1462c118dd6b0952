// What happened to a service, to its beginning, the latest first.

import { el, part, redraw, state, when } from "./elements.js";
import { words } from "./states.js";

const step = 100; // entries that are shown at first, and more with each press
const fresh = 10000; // ms after which a change of the past counts as history
const most = 5000; // entries that are kept

let entries = []; // the oldest first
let newest = 0; // the id of the last one
let cut = false; // whether older ones are not kept
let shown = step;
let due;

export function clear() {
  entries = [];
  newest = 0;
  cut = false;
  shown = step;
  part("timeline").replaceChildren();
  part("older").hidden = true;
}

export const last = () => newest;

// append takes a change, each once; many that come at once are drawn once.
export function append({ id, data }) {
  if (id <= newest) return;
  newest = id;
  entries.push({ ...data, fresh: Date.now() - new Date(data.time) < fresh }); // for good: an entry is drawn once
  if (entries.length > most) {
    entries = entries.slice(-most / 2);
    cut = true;
  }
  due ??= requestAnimationFrame(draw);
}

function draw() {
  due = undefined;
  const chosen = part("vms").checked ? entries : entries.filter((event) => ["service", "role"].includes(event.kind));
  redraw(part("timeline"), chosen.slice(-shown).reverse().map(entry));
  const more = chosen.length - shown;
  if (more <= 0 && document.activeElement === part("older")) part("timeline").parentElement.focus();
  part("older").hidden = more <= 0;
  part("older").textContent = `Show ${Math.min(more, step)} older of ${more}`;
  part("beginning").hidden = more > 0 || chosen.length === 0;
  part("beginning").textContent = cut ? "Older changes are not shown here; an administrator can list them with `flowjet events --service`." : "This is the beginning; changes are kept for 90 days.";
}

const entry = (event) => el("li", { class: event.fresh ? "new" : undefined }, when(event.time), el("span", {}, what(event)), el("span", { class: "cause" }, cause(event)));

function what(event) {
  const change = event.old ? [`${words(event.old)} → `, state(event.new)] : [state(event.new)];
  switch (event.kind) {
    case "service": return [el("strong", {}, "Service "), ...change];
    case "role": return [el("strong", {}, `Role ${event.role} `), ...change];
    case "network": return [`Network ${event.network}: ${words(event.new)}`];
    case "router": return [`Virtual router of role ${event.role}: ${words(event.new)}`];
  }
  return [`VM ${event.vm}: ${words(event.new)}${event.role ? ` (role ${event.role})` : ""}`];
}

const timers = {
  look: "a periodic check was due", stay: "a deadline passed", cooldown: "the cooldown was over", schedule: "a scheduled policy was due",
  refill: "its roles were compared with their min_vms", heal: "a failed VM was due to be healed", retry: "a call that oned had refused was retried",
};

// cause says in a tenant's words what led to a change.
export function cause(event) {
  return [event.reason, because(event.cause)].filter(Boolean).join(" · ");
}

export function because(cause) {
  const id = cause?.id ?? "";
  switch (cause?.kind) {
    case "measures": return "its VMs were measured";
    case "command": return `${cause.user ?? "a user"} requested ${words(id.split(" ")[0])}`;
    case "timer": return timers[id] ?? `a timer was due: ${words(id)}`;
    case "event": {
      const [, kind, number, first, second] = id.match(/^(\w+) (\d+) (\w+)(?:\/(\w+))?/) ?? [];
      if (!kind) return "OpenNebula reported a change";
      return `${kind === "vm" ? "VM" : kind} ${number} became ${words(first === "ACTIVE" && second ? second : first)}`;
    }
  }
  return "";
}

part("vms").addEventListener("change", draw);
part("older").addEventListener("click", () => {
  shown += step;
  draw();
});
