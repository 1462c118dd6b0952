// The page: the session, what the address asks for, and what happens meanwhile.

import * as actions from "./actions.js";
import * as address from "./address.js";
import * as api from "./api.js";
import * as detail from "./detail.js";
import { el, focusOn, part, redraw } from "./elements.js";
import * as list from "./list.js";
import { words } from "./states.js";
import * as system from "./system.js";
import * as templates from "./templates.js";

const pause = 1500; // ms between two readings of the list
const retry = 5000; // ms after which a reading that failed is tried again
const storm = 10000; // ms between two announcements while many changes happen
const every = 60000; // ms after which all is read again: rights, hosts and ages change without an event

// readings are what is read of the API, and how many ms after a change.
const readings = {
  list: { read: list.refresh, wait: pause },
  detail: { read: detail.refresh, wait: 250 },
  timeline: { read: detail.history, wait: 250 },
  templates: { read: templates.refresh, wait: 0 },
  system: { read: system.refresh, wait: 0 },
};

let session = false; // whether a user is logged in
let last = null; // the name of the user who is or was
let stream = null; // the AbortController of the stream of events
let open = false; // whether events come
const news = []; // what is to be announced
let quiet = 1000; // ms until it is
let pressed = 0; // counts what the user does
const problems = new Map(); // what goes wrong, by the name of the reading

const tabs = new BroadcastChannel("flowjet"); // they share the session
tabs.addEventListener("message", ({ data: user }) => {
  if (user?.user !== last) location.reload();
  else if (!session) begin(user);
});

function login(refusal = "", wrong = false) {
  session = false;
  stream?.abort();
  detail.close();
  actions.pause();
  for (const id of ["board", "leave", "views"]) part(id).hidden = true;
  part("who").textContent = "";
  problems.clear();
  tell("", "");
  document.title = "Log in · Flowjet";
  part("login").hidden = false;
  part("refused").textContent = refusal;
  for (const id of ["user", "password"]) part(id).ariaInvalid = wrong;
  part(part("user").value ? "password" : "user").focus();
}

// failed shows what went wrong. A service that is not the user's to see is no reason to log out.
function failed(name, error) {
  if (!session || error.name === "AbortError") return;
  if (error.status === 401) return login("You are logged out: your session has ended, or your password was changed.");
  if (error.status === 403) return detail.missing("You may not see this service: its owner or an administrator can grant the right.");
  if (error.status === 404) return detail.missing(error.message, true);
  problem(name, error.message);
  if (error.status === undefined || error.status === 429 || error.status >= 500) soon(name, retry);
}

// problem shows what goes wrong, and takes it away with an empty text.
function problem(name, text) {
  problems.delete(name);
  if (text) problems.set(name, text);
  redraw(part("problems"), [...new Set(problems.values())].map((each) => el("p", { class: "problem" }, each)));
  live();
}

part("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { value: password } = part("password");
  part("password").value = "";
  part("refused").textContent = "";
  try {
    const user = await api.begin(part("user").value, password);
    tabs.postMessage(user);
    if (last && user.user !== last) return location.reload(); // nothing of the former user stays
    begin(user);
  } catch (error) {
    const wrong = error.status === 401;
    login(wrong ? "OpenNebula does not know this user and password." : error.message, wrong);
  }
});

part("leave").addEventListener("click", async () => {
  try {
    await api.end();
    tabs.postMessage(null);
    location.reload();
  } catch (error) {
    problem("leave", `You are still logged in: ${error.message}`);
  }
});

// begin shows what the address asks for, and listens before it reads, so that nothing that
// happens in between is missed.
function begin(user) {
  session = true;
  last = user.user;
  if (part("login").contains(document.activeElement)) part("main").focus();
  part("login").hidden = true;
  part("password").value = "";
  for (const id of ["board", "leave", "views"]) part(id).hidden = false;
  part("who").textContent = user.user;
  document.querySelector("#views [data-view=system]").hidden = !user.administrator;
  listen();
  show();
  actions.resume();
}

// listen follows what happens while the tab is to be seen: a browser has few connections to a server for all its tabs.
function listen() {
  stream?.abort();
  open = false;
  if (!session || document.hidden) return;
  stream = new AbortController();
  tell("Connecting …", "working");
  const state = (now, reason) => {
    open = now;
    if (open) shown().forEach((name) => soon(name)); // services may have changed or ended unheard
    else tell("Connection lost, reconnecting …", "failed");
    problem("stream", reason);
  };
  api.follow({ signal: stream.signal, state, tell: happened }).catch((error) => failed("stream", error));
}

function tell(text, kind) {
  part("connection").textContent = text;
  part("connection").className = `state ${kind}`;
}

function live() {
  if (open) tell(...(Object.keys(readings).some((name) => problems.has(name)) ? ["Not up to date", "warning"] : ["Live", "running"]));
}

// soon reads something after a while once, however often it is asked for meanwhile, and not before the last reading has ended.
function soon(name, wait = readings[name].wait) {
  readings[name].due ??= setTimeout(() => {
    readings[name].due = undefined; // what happens from now on is read once more
    if (readings[name].busy) readings[name].again = true;
    else read(name);
  }, wait);
}

async function read(name) {
  const reading = readings[name];
  if (!session || document.hidden) return;
  reading.busy = (reading.busy ?? 0) + 1;
  try {
    await reading.read();
    problem(name, "");
  } catch (error) {
    failed(name, error);
  }
  reading.busy--;
  if (reading.again && !reading.busy) {
    reading.again = false;
    soon(name);
  }
}

// shown are the readings of what is shown, and refresh makes them.
const shown = () => ["list", ...({ service: ["detail", "timeline"], templates: ["templates"], system: ["system"] }[address.read().view] ?? [])];
const refresh = () => Promise.all(shown().map(read));

// happened takes one change of a service.
function happened(change) {
  if (change.kind === "service") announce(`Service ${change.service} is ${words(change.new)}`);
  soon("list");
  if (detail.shown() !== change.service) return;
  soon("detail");
  soon("timeline");
}

// announce says to screen readers what happened, within a second; how much it is while much happens, and seldom, so that other things are heard.
function announce(text) {
  news.push(text);
  if (news.length > 1) return;
  setTimeout(() => {
    const many = news.length > 3;
    part("announcer").textContent = many ? `${news.length} changes of services, the last: ${news.at(-1)}` : news.join(". ");
    quiet = many ? storm : 1000;
    news.length = 0;
  }, quiet);
}

// show shows what the address asks for.
async function show(event) {
  if (!session) return;
  const { view, id } = address.read();
  document.body.dataset.view = view;
  for (const [name, section] of [["service", "service"], ["templates", "template-list"], ["system", "system"], ["services", "welcome"]]) part(section).hidden = view !== name;
  for (const link of document.querySelectorAll("#views a, #back")) link.href = address.link(link.dataset.view, null);
  for (const link of document.querySelectorAll("#views a")) link.ariaCurrent = link.dataset.view === (view === "service" ? "services" : view) ? "page" : null;
  const moved = event && event.newURL.split("?")[0] !== event.oldURL.split("?")[0];
  if (moved || !event) document.title = `${{ service: `Service ${id}`, templates: "Templates", system: "System" }[view] ?? "Services"} · Flowjet`;
  list.restore();
  if (view === "service") detail.show(id);
  else detail.close();
  for (const name of ["detail", "timeline", "templates", "change", "leave"]) problem(name, "");
  if (moved) part("dialog").close();
  const before = pressed;
  await refresh();
  if (moved && pressed === before) arrive(view, event.oldURL);
}

// arrive gives the focus to what the address asks for, unless the link of a view has it: to a service's title, to the
// service in the list that was shown before, or to the view's title.
function arrive(view, from) {
  const held = document.activeElement;
  if (view !== "service" && held !== document.body && held.checkVisibility()) return;
  const [, former] = from.match(/#\/service\/(\d+)/) ?? [];
  const row = view === "services" && part("services").querySelector(`[data-key="${former}"]`);
  const target = row || part({ service: "service-title", templates: "templates-title", system: "system-title" }[view] ?? "services-title");
  focusOn(target);
  target.scrollIntoView({ block: "nearest" });
}

for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, () => { pressed++; }, true);

// The link leads to what is shown, and not to another address.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  part(session && address.read().view === "service" ? "service-title" : "main").focus();
});

let width = innerWidth;
addEventListener("resize", () => {
  if (Math.abs(innerWidth - width) > 50) soon("detail");
  width = innerWidth;
});
addEventListener("hashchange", show);
document.addEventListener("visibilitychange", listen);
setInterval(refresh, every);
setInterval(() => { if (address.read().view === "system") soon("system"); }, 5000);
actions.onChange((trouble) => {
  problem("change", trouble);
  refresh();
});
start();

// start goes on with the browser's session. An API that does not answer is asked again.
function start(again = false) {
  api.session().then((user) => session || begin(user), (error) => {
    if (session) return;
    const ended = error.status === 401;
    if (!again) login(ended ? "" : error.message);
    else if (ended) part("refused").textContent = "";
    if (!ended) setTimeout(start, retry, true);
  });
}
