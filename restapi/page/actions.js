// Changes of a service: each is tried without effect first and shown as a plan, and acts
// once however often its button is pressed.

import * as api from "./api.js";
import { el, keep, part } from "./elements.js";
import { words } from "./states.js";

let after = () => {}; // is called when something was changed, with what went wrong if the dialog is closed

export const onChange = (listener) => { after = listener; };

// buttons are those that the API allows to this user now; a pressed one is about the service as it is then.
export function buttons(service, now) {
  const press = (text) => {
    const [, , ask] = offers(now()).find(([name]) => name === text) ?? [];
    if (ask) dialog(ask);
  };
  return offers(service).map(([text, kind]) => el("button", { type: "button", class: kind, onclick: () => press(text) }, text));
}

// offers are [text, kind, ask] of each button.
function offers(service) {
  const { allowed } = service;
  const path = `/service/${service.id}`;
  const act = (perform, params) => ({ method: "POST", path: `${path}/action`, body: { action: { perform, params } } });
  return [
    allowed.scale.length && ["Scale …", "", { title: `Scale ${service.name}`, verb: "Scale", fields: scaling(service), request: (data) => ({ method: "POST", path: `${path}/scale`, body: { role_name: data.get("role"), cardinality: Number(data.get("cardinality")), force: data.has("force") } }) }],
    allowed.release && ["Release …", "", { title: `Release ${service.name}`, verb: "Release", request: () => act("release", {}) }],
    allowed.recover && ["Recover …", "", { title: `Recover ${service.name}`, verb: "Recover", request: () => act("recover", {}) }],
    allowed.chown && ["Owner …", "", { title: `Give ${service.name} to another owner`, verb: "Change the owner", fields: owning(), unplanned: "The service's VMs, virtual routers and own networks change their owner too.", request: (data) => act("chown", { owner_id: data.get("owner") || -1, group_id: data.get("group") || -1 }) }],
    allowed.undeploy ? ["Undeploy …", "danger", { title: `Undeploy ${service.name}`, verb: "Undeploy", danger: true, request: () => ({ method: "DELETE", path }) }]
      : allowed.delete && ["Undeploy …", "danger", { title: `Undeploy ${service.name}`, verb: "Undeploy", danger: true, request: () => act("recover", { delete: true }) }],
  ].filter(Boolean);
}

function scaling(service) {
  const roles = service.roles.filter((role) => service.allowed.scale.includes(role.name));
  const number = el("input", { name: "cardinality", id: "cardinality", type: "number", min: 0, max: 10000, required: true, value: roles[0].wanted, "data-about": "cannot have|cannot be scaled to|already has" });
  const choose = el("select", { name: "role", id: "role", "data-about": "cannot be scaled in|cannot be scaled while|is a virtual router", onchange: (event) => { number.value = roles[event.target.selectedIndex].wanted; } },
    roles.map((role) => el("option", { value: role.name }, `${role.name} (${role.wanted} now)`)));
  return [el("label", { for: "role" }, "Role"), choose, el("label", { for: "cardinality" }, "Number of VMs"), number,
    el("label", { class: "check" }, el("input", { name: "force", type: "checkbox" }), " ignore the role's limits")];
}

function owning() {
  const named = (id, text) => [el("label", { for: id }, text), el("input", { name: id, id, "data-about": `"${id}_id"`, placeholder: "unchanged", autocomplete: "off", autocapitalize: "none", spellcheck: "false" })];
  return [...named("owner", "User (name or ID)"), ...named("group", "Group (name or ID)")];
}

// newKey is random; crypto.randomUUID is only there over TLS and on the loopback address.
const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

// dialog asks: {title, verb, danger, fields, request(FormData), done(answer), unplanned}.
// unplanned is said of a change that the API makes no plan for. Any other is made only where
// it does what the plan that was shown says.
export function dialog(ask) {
  const box = part("dialog");
  const plan = el("div", { class: "plan", role: "status", tabindex: -1 });
  const go = el("button", { type: "submit", class: ask.danger ? "danger" : "primary", disabled: !ask.unplanned }, ask.verb);
  const check = el("button", { type: "submit" }, "Show what would happen"); // the first button is the one of the Enter key
  const form = el("form", { method: "dialog", onsubmit: submit, oninput: stale },
    el("h2", { id: "dialog-title" }, ask.title), el("div", { class: "fields" }, ask.fields ?? []), plan,
    el("div", { class: "tools" }, ask.fields && !ask.unplanned ? check : "", go, el("button", { type: "button", autofocus: !ask.fields, onclick: () => box.close() }, "Cancel")));
  const request = () => ask.request(new FormData(form));
  const reveal = () => form.lastChild.scrollIntoView({ block: "nearest" }); // the plan, below a long form
  const left = () => !box.open || !form.isConnected;
  let sent = false;
  let asked = 0; // counts what was asked for, so that the answer to an earlier form is not shown
  let key = newKey(); // of one change of one version of the service
  let planned = {}; // {etag, steps, whole} of the plan that is shown

  function stale() {
    pardon();
    if (ask.unplanned) {
      go.disabled = sent;
      return;
    }
    asked++;
    go.disabled = true;
    if (!sent) plan.replaceChildren();
  }
  async function preview() {
    if (sent || !form.reportValidity()) return;
    pardon();
    const mine = ++asked;
    go.disabled = true;
    plan.replaceChildren(el("p", { class: "quiet" }, "Planning the change …"));
    try {
      const found = await look(request());
      if (mine === asked) show(found);
    } catch (error) {
      if (mine === asked) complain(error);
    }
  }
  async function look(wanted) {
    const { etag, ...answer } = await api.plan(wanted);
    return { etag, steps: steps(answer), whole: steps(answer, (text) => text) };
  }
  function show(found, ...before) {
    if (found.etag !== planned.etag) key = newKey();
    planned = found;
    plan.replaceChildren(...before, found.steps);
    go.disabled = false;
    reveal();
  }
  async function submit(event) {
    event.preventDefault();
    if (sent) return;
    if (event.submitter === check) return preview();
    sent = true;
    pardon();
    if (document.activeElement === go) plan.focus(); // a disabled button would lose it
    go.disabled = true;
    const mine = asked;
    const note = el("p", { class: "quiet" }, "Sent; closing this does not stop it …");
    plan.append(note);
    try {
      const made = await make(request());
      if (!made) return;
      if (made.queued) await outcome(made.queued, note);
      if (left()) {
        paused = false; // it is done
        return after();
      }
      box.close();
      after();
      ask.done?.(made.answer);
    } catch (error) {
      if (left()) return after(`${ask.title}: ${error.message}`);
      complain(error);
      const refused = ![429, 503].includes(error.status) && error.status !== undefined;
      if (refused) key = newKey(); // else the same: it acts once
      go.disabled = refused;
    } finally {
      sent = false;
      if (mine !== asked) go.disabled = true; // the form is not what was planned any more
    }
  }
  // outcome waits until a queued change is carried out, or the user leaves.
  async function outcome(id, note) {
    note.textContent = "Queued: no worker has carried it out yet. It stays queued if you close this.";
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      if (left()) return;
      const command = await api.command(id).catch((error) => { if ([401, 403, 404].includes(error.status)) throw error; });
      if (command?.state === "done") return;
      if (command?.state === "refused") throw new api.Refused(409, { detail: command.message });
    }
  }
  // make makes the change, of a later version of the service too if the same would happen to
  // it. It returns undefined, and shows the new plan, where it would not, and where the user has left.
  async function make(wanted) {
    for (let tries = 1; ; tries++) {
      try {
        return await api.change(wanted, { key, etag: planned.etag });
      } catch (error) {
        if (error.status !== 412 || tries === 5) throw error;
      }
      key = newKey(); // nothing was done
      const found = await look(wanted);
      if (left()) return undefined;
      if (!found.whole.isEqualNode(planned.whole)) return show(found, el("p", { class: "problem", role: "alert" }, "The service has changed meanwhile. This would happen now:"));
      planned.etag = found.etag;
    }
  }
  function complain(error) {
    if (error.status === 401) { // the session has ended
      plan.replaceChildren(ask.unplanned ?? "");
      return after();
    }
    const violations = error.violations ?? [];
    plan.replaceChildren(el("p", { class: "problem", id: "refusal", role: "alert" }, error.message),
      violations.length > 1 ? el("ul", {}, violations.map((each) => el("li", {}, each.message))) : "");
    reveal();
    const means = (about) => [error, ...violations].some((each) => each.message.includes(about));
    const wrong = [...form.elements].filter((control) => control.dataset.about?.split("|").some(means));
    for (const control of wrong) {
      control.ariaInvalid = "true";
      control.setAttribute("aria-describedby", "refusal");
    }
    wrong[0]?.focus();
  }
  // pardon takes the marks of a refusal away.
  function pardon() {
    for (const control of form.querySelectorAll("[aria-invalid]")) {
      control.ariaInvalid = null;
      control.removeAttribute("aria-describedby");
    }
  }

  if (ask.unplanned) plan.append(ask.unplanned);
  box.replaceChildren(form);
  reopen = () => {
    box.addEventListener("close", keep(document.body), { once: true }); // what was pressed may be drawn anew meanwhile
    box.showModal();
    stale();
    if (!ask.fields) preview();
  };
  reopen();
}

let reopen; // shows the last dialog, as it was left
let paused = false; // whether it was open when its user's session ended
let held = null; // what had the focus then

// pause closes the dialog while nobody is logged in; resume shows it again, with what was typed.
export function pause() {
  if (part("dialog").open) [paused, held] = [true, document.activeElement];
  part("dialog").close();
}

export function resume() {
  if (!paused) return;
  reopen();
  held.focus();
  paused = false;
}

// steps shows a plan in words, of which cut leaves out what is too long.
function steps(plan, cut = shortened) {
  const items = plan.steps.filter((step) => step.actions.length > 0).map((step) => el("li", {}, step.waits_for ? `When ${cut(step.waits_for)}: ` : "", cut(step.actions.map(did).join(", "))));
  const ends = plan.ends_in === "DONE" ? "the service is gone" : `the service is ${words(plan.ends_in)}`;
  return el("div", {}, items.length ? el("ol", {}, items) : el("p", {}, "Nothing has to be done in OpenNebula."),
    el("p", {}, plan.complete ? `Then ${ends}.` : "Further steps depend on the outcome, or are too many to be planned ahead."));
}

function did(action) {
  const vm = action.name || `VM ${action.vm}`;
  switch (action.do) {
    case "create_vm": return `create ${vm}${action.on_hold ? " on hold" : ""}`;
    case "vm": return `${action.call} ${vm}`;
    case "recover_vm": return `recover ${vm}`;
    case "create_network": return `create network ${action.network}`;
    case "delete_network": return `delete network ${action.network}`;
    case "create_router": return `create the virtual router of ${action.role}`;
    case "delete_router": return `delete the virtual router of ${action.role}`;
    case "delete_document": return "remove the service";
  }
  return words(action.do);
}

const shortened = (text) => (text.length > 400 ? `${text.slice(0, 400)} …` : text);
