// The list of services on the left: a page of it, as the address asks for.

import * as address from "./address.js";
import * as api from "./api.js";
import { el, part, redraw, state } from "./elements.js";
import { kindOf, states, words } from "./states.js";

const perPage = 50;
let latest = 0; // numbers the readings, of which only the last one counts

export async function refresh() {
  const mine = ++latest;
  const { query } = address.read();
  const asked = new URLSearchParams({ q: query.get("q") ?? "", state: query.get("state") ?? "", sort: query.get("sort") ?? "-id", offset: query.get("offset") ?? "0", limit: perPage });
  const list = await api.services(asked);
  if (mine !== latest) return;
  if (list.total > 0 && list.services.length === 0) return address.change({ offset: String(perPage * Math.floor((list.total - 1) / perPage)) }); // the page is gone
  part("count").textContent = `(${list.total})`;
  tell(list, asked);
  chips(list.counts, query.get("state") ?? "");
  rows(list, query);
  pages(list.total, Number(query.get("offset") ?? 0));
}

let told; // what was asked for last

// tell says to screen readers what another search, filter or page has found.
function tell(list, asked) {
  const [former, offset] = [told, Number(asked.get("offset"))];
  told = String(asked);
  if (former === undefined || former === told) return;
  part("found").textContent = list.total ? `${offset + 1} to ${offset + list.services.length} of ${list.total} services` : "No service matches.";
  part("services").scrollTop = 0;
}

// chips are the counts by state, each of which filters.
function chips(counts, chosen) {
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const chip = (value, text, kind) => el("li", {}, el("a", {
    href: address.link(address.read().view, address.read().id, { state: value, offset: "" }), class: `chip ${kind}`, "data-key": value, "aria-current": value === chosen ? "true" : undefined,
  }, text));
  redraw(part("states"), chip("", `all ${all}`, ""),
    ...states.filter((name) => counts[name] || name === chosen).map((name) => chip(name, `${words(name)} ${counts[name] ?? 0}`, kindOf(name))));
}

function rows(list, query) {
  const chosen = address.read();
  redraw(part("services"), list.services.map((row) => el("li", { "data-id": row.id },
    el("a", { href: address.link("service", row.id), "data-key": row.id, "aria-current": chosen.view === "service" && chosen.id === row.id ? "true" : undefined },
      el("span", { class: "name" }, row.name), state(row.state),
      el("span", { class: "quiet" }, `#${row.id} · ${row.owner}`),
      el("span", { class: "quiet size" }, `${row.running ?? "?"} of ${row.wanted} VMs run`)))));
  part("none").hidden = list.total > 0;
  part("none").textContent = query.get("q") || query.get("state") ? "No service matches." : "There are no services yet. Begin with a template.";
}

function pages(total, offset) {
  const step = (to, text) => (to < 0 || to >= total ? undefined : el("a", { href: address.link(address.read().view, address.read().id, { offset: to ? String(to) : "" }), "data-key": text }, text));
  part("pages").hidden = total <= perPage && offset === 0;
  redraw(part("pages"), step(offset - perPage, "previous"), el("span", { class: "quiet" }, `${Math.min(offset + 1, total)} to ${Math.min(offset + perPage, total)} of ${total}`),
    step(offset + perPage, "next"));
}

let typing;
part("words").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => address.change({ q: event.target.value.trim(), offset: "" }), 200);
});
part("sort").addEventListener("change", (event) => address.change({ sort: event.target.value === "-id" ? "" : event.target.value, offset: "" }));

// restore fills in the fields from the address.
export function restore() {
  const { query } = address.read();
  if (document.activeElement !== part("words")) part("words").value = query.get("q") ?? "";
  part("sort").value = query.get("sort") ?? "-id";
}
