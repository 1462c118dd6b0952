// The service that was chosen: why it is as it is, its roles, its timeline.

import * as api from "./api.js";
import { el, table } from "./elements.js";
import { graph } from "./graph.js";
import { stateOf } from "./list.js";
import { kindOf, roleState, words } from "./states.js";

const part = (id) => document.getElementById(id);
const maxTimeline = 300; // entries; the whole history is in the stream FLOW
const fresh = 3000; // ms after which an event of the past counts as history

let current = null; // {id, abort}

const state = (name) => el("span", { class: `state ${kindOf(name)}` }, words(name));
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

function when(text) {
  const time = new Date(text);
  const today = time.toDateString() === new Date().toDateString();
  return el("time", { datetime: text, title: time.toString() }, today ? clock.format(time) : `${day.format(time)}, ${clock.format(time)}`);
}

// close shows no service.
export function close(title = "No service is chosen") {
  current?.abort.abort();
  current = null;
  part("service-title").replaceChildren(title);
  part("hint").hidden = false;
  part("details").hidden = true;
}

// open shows a service and follows what happens to it.
export function open(id, failed) {
  if (current?.id === id) return;
  close(`Service ${id}`);
  current = { id, abort: new AbortController() };
  part("hint").hidden = true;
  part("timeline").replaceChildren();
  api.follow({ service: id, since: 0, signal: current.abort.signal, tell: (event) => append(event.data) }).catch(failed);
}

export const shown = () => current?.id;

// show draws the service's document.
export function show(document) {
  if (!current || Number(document.ID) !== current.id) return;
  const body = document.TEMPLATE.BODY;
  part("details").hidden = false;
  part("service-title").replaceChildren(document.NAME, state(stateOf(document)));
  part("facts").textContent = `service ${document.ID} · owner ${document.UNAME}, group ${document.GNAME} · ` +
    `deployment ${body.deployment ?? "none"}${body.start_time ? ` · started ${new Date(body.start_time * 1000).toLocaleString()}` : ""}`;
  part("graph").replaceChildren(graph(body));
  part("roles").replaceChildren(table("Roles, and what each waits for before it starts",
    [{ title: "Role" }, { title: "State" }, { title: "VMs", number: true }, { title: "Waits for" }, { title: "VM ids" }],
    body.roles.map((role) => [role.name, state(roleState(role.state)), `${(role.nodes ?? []).length} of ${role.cardinality}`,
      (body.deployment === "straight" && (role.parents ?? []).join(", ")) || "–",
      (role.nodes ?? []).map((node) => node.deploy_id).join(", ") || "–"])));
}

// ended shows that the service is gone.
export function ended() {
  part("service-title").replaceChildren(`Service ${current.id}`, state("DELETED"));
  part("graph").replaceChildren();
  part("roles").replaceChildren(el("p", { class: "quiet" }, "The service has ended and its document is gone."));
}

// explain asks why the service is as it is.
export async function explain() {
  if (!current) return;
  const { id } = current;
  try {
    const why = await api.why(id);
    if (current?.id === id) reasons(why);
  } catch (error) {
    if (current?.id === id) reasons({ state: "DONE", summary: error.message, failed: [], waits: [], next: [] });
  }
}

function reasons(why) {
  part("why").className = kindOf(why.state);
  part("summary").textContent = why.summary;
  const troubles = (title, items) => (items.length ? [el("h4", {}, title), el("ul", {}, items.map((text) => el("li", {}, text)))] : []);
  const timers = Object.entries(why.timers ?? {}).map(([name, due]) => el("span", {}, `${name} at `, when(due)));
  const waiting = why.backlog?.count ? [`${why.backlog.count} wake-ups wait to be handled`] : [];
  const dead = why.dead_letters ? [`${why.dead_letters} inputs were given up: nats sub 'flow.dlq.>' --stream DLQ --all shows them`] : [];
  part("reasons").replaceChildren(
    ...troubles("What failed", why.failed.map((trouble) => trouble.message)),
    ...troubles("What it waits for", [...why.waits.map((trouble) => trouble.message), ...waiting]),
    ...troubles("What to do", [...why.next, ...dead]),
    ...(kindOf(why.state) === "running" ? [] : troubles("Timers", timers)));
}

function append(event) {
  const list = part("timeline");
  const item = el("li", { class: ["service", "role"].includes(event.kind) ? undefined : "detail" }, when(event.time), el("span", {}, what(event)), cause(event));
  if (Date.now() - new Date(event.time) < fresh) item.classList.add("new");
  list.prepend(item);
  if (list.children.length > maxTimeline) list.lastChild.remove();
}

function what(event) {
  const change = event.old ? [`${words(event.old)} → `, state(event.new)] : [state(event.new)];
  switch (event.kind) {
    case "service": return [el("strong", {}, "Service "), ...change];
    case "role": return [el("strong", {}, `Role ${event.role} `), ...change];
    case "network": return [`Network ${event.network} ${words(event.new)}`];
    case "router": return [`Virtual router of role ${event.role} ${words(event.new)}`];
  }
  return [`VM ${event.vm} ${words(event.new)}${event.role ? ` (role ${event.role})` : ""}`];
}

function cause(event) {
  const by = { command: "command", event: "heard", timer: "timer", wake: "woken" }[event.cause.kind] ?? event.cause.kind;
  const name = event.cause.kind === "command" ? (event.cause.id ?? "").split(" ")[0] : event.cause.id;
  const parts = [event.reason, `${by}: ${name}${event.cause.user ? ` by ${event.cause.user}` : ""}`, ...(event.did ?? []).map((done) => `→ ${done}`)];
  return el("span", { class: "cause" }, parts.filter(Boolean).join(" · "));
}

part("vms").addEventListener("change", (event) => part("timeline").classList.toggle("short", !event.target.checked));
