// The page: the session, what the address asks for, and what happens meanwhile.

import * as actions from "./actions.js";
import * as address from "./address.js";
import * as api from "./api.js";
import * as detail from "./detail.js";
import { part } from "./elements.js";
import * as list from "./list.js";
import { words } from "./states.js";
import * as system from "./system.js";
import * as templates from "./templates.js";

const settle = 250; // ms for which changes are gathered before what they change is read again
const pause = 1500; // ms between two readings of the list

let session = null; // an AbortController while a user is logged in
const news = []; // what is to be announced
const waiting = {}; // readings that are due

function login(refusal = "") {
  session?.abort();
  session = null;
  detail.close();
  for (const id of ["board", "leave", "views"]) part(id).hidden = true;
  part("who").textContent = "";
  tell("", false);
  part("login").hidden = false;
  part("refused").textContent = refusal;
  part(part("user").value ? "password" : "user").focus();
}

// lost shows what went wrong. A service that is not the user's to see is no reason to log out.
function lost(error) {
  if (error.status === 401) login("You are logged out: your session has ended, or your password was changed.");
  else if (error.status === 403) detail.missing("You may not see this service: its owner or an administrator can grant the right.");
  else if (error.status === 404) detail.missing(error.message);
  else tell(error.message, true);
}

part("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { value: password } = part("password");
  part("password").value = "";
  part("refused").textContent = "";
  try {
    begin(await api.begin(part("user").value, password));
    part("main").focus();
  } catch (error) {
    login(error.status === 401 ? "OpenNebula does not know this user and password." : error.message);
  }
});

part("leave").addEventListener("click", async () => {
  await api.end().catch(() => {});
  login();
});

// begin shows what the address asks for, and listens before it reads, so that nothing that
// happens in between is missed.
function begin(user) {
  session = new AbortController();
  let before = false; // whether the stream has been open
  const state = (open) => {
    tell(open ? "Live" : "Connection lost, reconnecting …", !open);
    if (open && before) refresh(); // services may have ended unheard
    else if (open) soon("list", pause, list.refresh); // what changed before the stream began
    before ||= open;
  };
  part("login").hidden = true;
  for (const id of ["board", "leave", "views"]) part(id).hidden = false;
  part("who").textContent = user.user;
  api.follow({ signal: session.signal, state, tell: (event) => happened(event.data) }).catch(lost);
  system.watch(session.signal);
  show();
}

function tell(text, broken) {
  part("connection").textContent = text;
  part("connection").className = broken ? "state failed" : "state running";
}

// soon reads something again once, however often it is asked for meanwhile.
function soon(name, wait, read) {
  waiting[name] ??= setTimeout(async () => {
    delete waiting[name]; // what happens from now on is read once more
    try {
      if (session) await read();
    } catch (error) {
      lost(error);
    }
  }, wait);
}

const refresh = () => {
  soon("list", 0, list.refresh);
  soon("detail", 0, detail.refresh);
};

// happened takes one change of a service.
function happened(change) {
  if (change.kind === "service") announce(`Service ${change.service} is ${words(change.new)}`);
  soon("list", pause, list.refresh);
  if (detail.shown() === change.service) soon("detail", settle, detail.refresh);
}

// announce says to screen readers what happened, and not more than once a second.
function announce(text) {
  news.push(text);
  if (news.length > 1) return;
  setTimeout(() => {
    part("announcer").textContent = news.length > 3 ? `${news.length} changes of services, the last: ${news.at(-1)}` : news.join(". ");
    news.length = 0;
  }, 1000);
}

// show shows what the address asks for.
async function show(event) {
  if (!session) return;
  const { view, id } = address.read();
  const service = view === "service" && Number.isInteger(id);
  document.body.dataset.view = service ? "service" : view;
  for (const [name, section] of [["service", "service"], ["templates", "template-list"], ["system", "system"]]) part(section).hidden = document.body.dataset.view !== name;
  part("welcome").hidden = service || ["templates", "system"].includes(view);
  for (const link of document.querySelectorAll("#views a, #back")) link.href = address.link(link.dataset.view, null);
  for (const link of document.querySelectorAll("#views a")) link.toggleAttribute("aria-current", link.dataset.view === (service ? "services" : view));
  list.restore();
  if (service) detail.show(id, lost);
  else detail.close();
  try {
    await Promise.all([list.refresh(), service ? detail.refresh() : undefined, view === "templates" ? templates.show() : undefined]);
  } catch (error) {
    lost(error);
  }
  if (event && service && event.newURL.split("?")[0] !== event.oldURL.split("?")[0]) part("service-title").focus({ preventScroll: true });
}

let width = innerWidth;
addEventListener("resize", () => {
  if (Math.abs(innerWidth - width) > 50) soon("detail", 300, detail.refresh);
  width = innerWidth;
});
addEventListener("hashchange", show);
actions.onChange(refresh);
api.session().then(begin, () => login());
