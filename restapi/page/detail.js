// The service on the right: why, its graph, roles, VMs, networks, inputs, log and timeline.

import * as actions from "./actions.js";
import * as api from "./api.js";
import { age, el, focusOn, part, redraw, state, table, textOf, when } from "./elements.js";
import { columns, graph } from "./graph.js";
import { kindOf, words } from "./states.js";
import * as timeline from "./timeline.js";

const few = 8; // VMs of a role that are shown without being asked for
const step = 50;
const drawable = 100; // roles of which a graph is drawn

let current = null; // {id, abort, service}
let latest = 0; // numbers the readings, of which only the last one counts
const open = new Map(); // how many VMs of a role are shown, by its name
let roles = step; // how many roles are shown

export const shown = () => current?.id;

// close shows no service.
export function close() {
  current?.abort.abort();
  current = null;
  open.clear();
  roles = step;
}

// show shows a service, of which nothing is read yet.
export function show(id) {
  if (current?.id === id) return;
  close();
  current = { id, abort: new AbortController(), service: null };
  part("service-title").replaceChildren(`Service ${id}`);
  part("hint").textContent = "";
  part("details").hidden = true;
  timeline.clear();
}

// history reads what has happened to the service since it was last read.
export async function history() {
  if (!current) return;
  const { id, abort: { signal } } = current;
  await api.history(id, timeline.last(), signal, (event) => { if (!signal.aborted) timeline.append(event); });
}

// missing shows that the service is not there for this user, any more if it is gone.
export function missing(text, gone) {
  if (!current) return;
  part("hint").textContent = text;
  const known = gone && current.service;
  const focused = part("details").contains(document.activeElement);
  part("details").hidden = !known;
  if (known) entitle(known.name, "DELETED");
  else redraw(part("service-title"), `Service ${current.id}`);
  for (const id of ["graph", "roles", "actions"]) part(id).replaceChildren();
  if (focused) focusOn(part("service-title"));
}

// entitle names the service and its state, in the tab's title too.
function entitle(name, now) {
  redraw(part("service-title"), name, state(now));
  document.title = `${part("service-title").firstChild.textContent}: ${words(now)} · Service ${current.id} · Flowjet`;
}

// refresh reads the service again.
export async function refresh() {
  if (!current) return;
  const { id, abort: { signal } } = current;
  const mine = ++latest;
  const width = part("graph").clientWidth || part("service").clientWidth;
  const [read, told] = await Promise.allSettled([api.service(id, columns(width), signal), api.why(id, signal)]);
  if (mine !== latest || current?.id !== id) return;
  const [service, why] = [read.value, told.value];
  if (!service) { // OpenNebula may be away, and what NATS holds can still be shown
    part("hint").textContent = why ? [why.summary, ...why.next].join("; ") : "";
    throw read.reason;
  }
  current.service = service;
  draw(service);
  reasons(service, why);
}

// draw shows the service anew.
function draw(service) {
  part("details").hidden = false;
  part("hint").textContent = "";
  entitle(service.name, service.state);
  redraw(part("facts"), `#${service.id} · owner ${service.owner}, group ${service.group} · ${service.running} of ${service.wanted} VMs run`,
    service.started ? [" · started ", when(service.started)] : "", service.description ? ` · ${service.description}` : "");
  redraw(part("actions"), actions.buttons(service, () => current.service));
  redraw(part("graph"), service.roles.length > drawable ? el("p", { class: "quiet" }, `There is no graph for ${service.roles.length} roles; they are listed below.`) : graph(service));
  const next = roles + step;
  redraw(part("roles"), service.roles.slice(0, roles).map(role), more(service.roles.length - roles, "roles", () => { roles = next; }));
  section("networks", service.networks.length && table("Networks of the service", [{ title: "Network" }, { title: "Is" }, { title: "Made from" }, { title: "Description" }],
    service.networks.map((network) => [network.name, network.id ? `network ${network.id}` : network.of ? "not created yet" : "left out", network.of ? `${network.from} ${network.of}` : "–", network.description || "–"])));
  const inputs = [...service.inputs, ...service.roles.flatMap((each) => each.inputs.map((input) => ({ ...input, name: `${each.name}: ${input.name}` })))];
  section("inputs", inputs.length && table("Values that were given; passwords are not shown", [{ title: "Input" }, { title: "Value" }, { title: "Description" }],
    inputs.map((input) => [input.name, input.type === "password" ? (input.set ? "set, not shown" : "not set") : el("span", { class: "lines" }, textOf(input) || "–"), input.description || "–"])));
  section("log", service.log.length && el("ol", { class: "plain" }, service.log.map((line) => el("li", {}, when(line.time), el("span", { class: line.severity === "E" ? "problem" : undefined }, line.message)))));
}

function section(id, content) {
  part(id).parentElement.hidden = !content;
  redraw(part(id), content || "");
}

// role is a role with its VMs, those in trouble first.
function role(each) {
  const order = { failed: 0, warning: 1, waiting: 2, working: 3, done: 4, running: 5 };
  const vms = each.vms.toSorted((a, b) => order[a.kind] - order[b.kind] || a.id - b.id);
  const most = open.get(each.name) ?? few;
  const limits = each.min_vms !== undefined || each.max_vms !== undefined ? ` · between ${each.min_vms ?? 0} and ${each.max_vms ?? "any number"}` : "";
  const hidden = vms.length - most;
  return el("section", { class: "role", "data-name": each.name, tabindex: -1, role: "group", "aria-label": `Role ${each.name}` },
    el("h4", {}, each.name, " ", state(each.state)),
    el("p", { class: "quiet" }, `${each.running} of ${each.wanted} VMs run${limits}${each.parents.length ? ` · after ${each.parents.join(", ")}` : ""} · VM template ${each.template_id}`),
    each.heal ? el("p", { class: "quiet" }, `VMs that fail are healed: ${each.heal}${each.healed ? ` · ${each.healed} healed within the last hour` : ""}`) : "",
    vms.length ? table(`VMs of ${each.name}${hidden > 0 ? `, ${most} of ${vms.length}, those in trouble first` : ""}`,
      [{ title: "VM" }, { title: "State" }, { title: "Host" }, { title: "Address" }, { title: "Age" }],
      vms.slice(0, most).map((vm) => [named(vm), [state(vm.state, vm.kind), vm.error ? el("span", { class: "problem" }, ` ${vm.error}`) : ""],
        vm.host || "–", (vm.ips ?? []).join(", ") || "–", vm.started ? age(vm.started) : "–"])) : el("p", { class: "quiet" }, "It has no VMs."),
    more(hidden, "VMs", () => open.set(each.name, most + step)),
    each.policies.length ? table(`Policies of ${each.name}`, [{ title: "When" }, { title: "Changes" }, { title: "Last evaluation" }],
      each.policies.map((policy) => [policy.when, `${policy.type.toLowerCase().replace("_", " ")} ${policy.adjust}`, evaluation(policy)])) : "");
}

// named is a VM's number and name, which lead to it in Sunstone where the API knows the way.
function named(vm) {
  const text = `${vm.id} ${vm.name}`;
  const link = current.service.vm_link;
  return link ? el("a", { href: link.replaceAll("{id}", vm.id), target: "_blank", rel: "noreferrer" }, text) : text;
}

// more is the button that shows what is left out, if anything is.
function more(hidden, what, show) {
  if (hidden <= 0) return "";
  return el("button", { type: "button", "data-key": what, onclick: () => { show(); draw(current.service); } }, `Show ${Math.min(hidden, step)} more of ${hidden} ${what}`);
}

function evaluation(policy) {
  if (!policy.last) return "not yet";
  return [when(policy.last), policy.evaluated ? `: ${policy.evaluated}` : "", policy.needed ? ` · true ${policy.true ?? 0} of ${policy.needed} times` : ""];
}

// reasons shows why the service is as it is, each sentence once.
function reasons(service, why) {
  part("why").className = kindOf(service.state);
  redraw(part("summary"), `In state ${words(service.state)}`, why?.since ? [" since ", when(why.since)] : "", why?.reason ? `: ${why.reason}` : "");
  const told = new Set([why?.reason]);
  const list = (title, texts) => {
    const left = texts.filter((text) => !told.has(text) && told.add(text));
    return left.length ? [el("h4", {}, title), el("ul", {}, left.map((text) => el("li", {}, text)))] : [];
  };
  if (!why) return redraw(part("reasons"));
  const dead = why.dead_letters ? [`${why.dead_letters} messages for this service could not be processed: ask an administrator, who can list them with flowjet dlq ls`] : [];
  const caused = timeline.because(why.cause);
  redraw(part("reasons"), list("Cause", caused ? [caused] : []),
    list("What failed", why.failed.map((trouble) => trouble.message)),
    list("Waits for", why.waits.map((trouble) => trouble.message)),
    list("Notes", [...(why.notes ?? []).map((note) => note.message), why.oned_away ? `OpenNebula does not answer: ${why.oned_away}` : ""].filter(Boolean)),
    list("What to do", [...why.next, ...dead]));
}

// A box of the graph goes to its role.
part("graph").addEventListener("click", (event) => {
  const name = event.target.closest("[data-key]")?.dataset.key;
  if (name === undefined) return;
  event.preventDefault();
  const target = part("roles").querySelector(`[data-name="${CSS.escape(name)}"]`);
  target?.scrollIntoView({ block: "nearest" });
  target?.focus();
});
