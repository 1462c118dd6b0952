// Service templates, and the form by which one is instantiated.

import * as actions from "./actions.js";
import * as address from "./address.js";
import * as api from "./api.js";
import { el, part, redraw, table, textOf } from "./elements.js";

const few = 8; // roles of a template that are named
const most = 200; // templates that are shown

let templates = [];

export async function refresh() {
  templates = await api.templates();
  draw();
}

function draw() {
  const wanted = part("find-template").value.trim().toLowerCase();
  const found = templates.filter((template) => `${template.name} ${template.owner} ${template.id}`.toLowerCase().includes(wanted));
  redraw(part("templates"), found.length === 0 ? el("p", { class: "quiet" }, templates.length ? "No template matches." : "There are no service templates that you may see.")
    : table(`${found.length > most ? `The first ${most} of ` : ""}${found.length} service templates`, [{ title: "Template" }, { title: "Owner" }, { title: "Roles" }, { title: "Description" }, { title: "" }],
      found.slice(0, most).map((template) => [`${template.name} (#${template.id})`, template.owner, rolesOf(template), template.description || "–",
        el("button", { type: "button", "aria-label": `Instantiate ${template.name}`, onclick: () => instantiate(templates.find((each) => each.id === template.id)) }, "Instantiate …")])));
}

function rolesOf({ roles }) {
  const named = roles.slice(0, few).map((role) => `${role.name} × ${role.cardinality}`).join(", ") || "–";
  return roles.length > few ? `${named} and ${roles.length - few} more` : named;
}

function instantiate(template) {
  const fields = [el("label", { for: "name" }, "Name of the service"), el("input", { id: "name", name: "name", required: true, maxlength: 128, value: template.name, "data-about": "name: is" })];
  template.inputs.forEach((input) => fields.push(...field(`input ${input.name}`, input)));
  template.networks.forEach((network) => fields.push(...networkFields(network)));
  for (const [i, role] of template.roles.entries()) {
    const id = `cardinality ${role.name}`;
    fields.push(el("label", { for: id }, `VMs of role ${role.name}`),
      el("input", { id, name: id, type: "number", required: true, min: role.min_vms ?? 0, max: role.max_vms ?? 10000, value: role.cardinality, "data-about": `roles[${i}].cardinality` }));
    role.inputs.forEach((input) => fields.push(...field(`role ${role.name} ${input.name}`, input, `${role.name}: `, `(role ${JSON.stringify(role.name)})`)));
  }
  actions.dialog({
    title: `Instantiate ${template.name}`, verb: "Instantiate", fields,
    request: (data) => ({ method: "POST", path: `/service_template/${template.id}/action`, body: { action: { perform: "instantiate", params: { merge_template: merged(template, data) } } } }),
    done: (answer) => { location.hash = address.link("service", Number(answer.DOCUMENT.ID)); },
  });
}

// field is an input's label and control; where is how a refusal of its value begins.
function field(id, input, before = "", where = "user_inputs_values") {
  const label = el("label", { for: id }, `${before}${input.description || input.name}${input.mandatory ? "" : " (optional)"}`);
  const value = textOf(input) || input.default || "";
  const common = { id, name: id, required: input.mandatory, "data-about": `${where}: the value of ${input.name} ` };
  switch (input.type) {
    case "boolean":
      return [label, el("select", common, ["YES", "NO"].map((text) => el("option", { value: text, selected: text === value }, text)))];
    case "list":
    case "list-multiple":
      return [label, el("select", { ...common, multiple: input.type === "list-multiple" },
        (input.options ?? []).map((text) => el("option", { value: text, selected: value.split(",").includes(text) }, text)))];
    case "password":
      return [label, el("input", { ...common, type: "password", autocomplete: "new-password" })];
    case "text64":
      return [label, el("textarea", { ...common, rows: 4 }, value)];
    case "fixed":
      return [label, el("input", { ...common, value, readonly: true })];
    case "number":
    case "number-float":
    case "range":
    case "range-float":
      return [label, el("input", { ...common, type: "number", value, step: input.type.endsWith("float") ? "any" : 1,
        min: input.type.startsWith("range") ? input.options?.[0] : undefined, max: input.type.startsWith("range") ? input.options?.[1] : undefined })];
  }
  return [label, el("input", { ...common, value })];
}

const sources = { id: "the network of this id", template_id: "a new one, of the network template of this id", reserve_from: "a reservation from the network of this id" };

function networkFields(network) {
  const id = `network ${network.name}`;
  return [el("label", { for: `${id} from` }, `Network ${network.name}${network.description ? `, ${network.description}` : ""}`),
    el("select", { id: `${id} from`, name: `${id} from` }, Object.entries(sources).map(([from, text]) => el("option", { value: from, selected: from === network.from }, text))),
    el("label", { for: id }, `Id for network ${network.name}`),
    el("input", { id, name: id, type: "number", min: 0, required: network.mandatory, value: network.of ?? "", "data-about": `networks.${network.name}|network ${JSON.stringify(network.name)}` })];
}

function valueOf(data, id, input) {
  const values = data.getAll(id);
  if (input.type === "text64") return btoa(String.fromCodePoint(...new TextEncoder().encode(values[0] ?? "")));
  return values.join(",");
}

// merged is what the form says, as merge_template takes it.
function merged(template, data) {
  const values = (inputs, id) => Object.fromEntries(inputs.map((input) => [input.name, valueOf(data, id(input), input)]));
  const out = {
    name: data.get("name"),
    roles: template.roles.map((role) => ({
      name: role.name, cardinality: Number(data.get(`cardinality ${role.name}`)),
      ...(role.inputs.length ? { user_inputs_values: values(role.inputs, (input) => `role ${role.name} ${input.name}`) } : {}),
    })),
  };
  if (template.inputs.length) out.user_inputs_values = values(template.inputs, (input) => `input ${input.name}`);
  if (template.networks.length) out.networks_values = template.networks.map((network) => ({ [network.name]: { [data.get(`network ${network.name} from`)]: data.get(`network ${network.name}`) } }));
  return out;
}

part("find-template").addEventListener("input", draw);
