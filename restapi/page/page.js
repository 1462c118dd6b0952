// The page: logging in, following what happens, and what of it is shown.

import * as api from "./api.js";
import * as detail from "./detail.js";
import * as list from "./list.js";
import { words } from "./states.js";
import * as system from "./system.js";

const part = (id) => document.getElementById(id);
const patience = 3000; // ms for which the list waits for the stream of events
const settle = 120; // ms for which changes of a service are gathered before it is read again

let session = null; // an AbortController while a user is logged in
const dirty = new Map(); // services to be read again: timers by id
const news = []; // what is to be announced

function login(refusal = "") {
  session?.abort();
  session = null;
  api.logOut();
  detail.close();
  list.clear();
  part("board").hidden = true;
  part("leave").hidden = true;
  part("who").textContent = "";
  tell("", false);
  part("login").hidden = false;
  part("refused").textContent = refusal;
  part(part("user").value ? "password" : "user").focus();
}

// lost goes back to the log-in where the user is not known any more.
function lost(error) {
  if (error.status === 401) login("Your name and password are not accepted any more.");
  else if (error.status === 403) detail.close("This service is not yours to see: its owner or an administrator can grant the right.");
  else if (error.status === 404) detail.close(error.message);
  else tell(error.message, true);
}

part("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const user = part("user").value;
  api.logIn(user, part("password").value);
  part("password").value = "";
  part("refused").textContent = "";
  try {
    await begin(user);
  } catch (error) {
    login(error.status === 401 ? "OpenNebula does not know this user and password." : error.message);
  }
});

part("leave").addEventListener("click", () => login());

// begin listens before it reads the list, so that nothing that happens in
// between is missed.
async function begin(user) {
  const starting = new AbortController();
  const early = [];
  let ready = false;
  let before = false; // whether the stream has been open
  const heard = (event) => (ready ? happened(event.data) : early.push(event.data));
  const opened = new Promise((resolve, reject) => {
    const state = (is) => {
      if (ready) connected(is, before);
      before ||= is;
      if (is) resolve();
    };
    api.follow({ signal: starting.signal, state, tell: heard }).catch((error) => (ready ? lost(error) : reject(error)));
  });
  try {
    await Promise.race([opened, new Promise((resolve) => setTimeout(resolve, patience))]);
    list.putAll(await api.services());
  } catch (error) {
    starting.abort();
    throw error;
  }
  session = starting;
  ready = true;
  part("login").hidden = true;
  part("board").hidden = false;
  part("leave").hidden = false;
  part("who").textContent = user;
  connected(before, false);
  early.forEach(happened);
  system.watch(session.signal);
  follow();
  part("main").focus();
}

// connected tells whether the page is live. After an interruption all is read
// again, since services may have ended unheard.
function connected(is, again) {
  tell(is ? "Live" : "The connection is lost; trying again …", !is);
  if (is && again) reload();
}

function tell(text, broken) {
  part("connection").textContent = text;
  part("connection").className = broken ? "state failed" : "state running";
}

async function reload() {
  try {
    list.putAll(await api.services());
    follow();
  } catch (error) {
    lost(error);
  }
}

// happened takes one change: the service is read again soon.
function happened(change) {
  const id = change.service;
  if (change.kind === "service") announce(`Service ${id} ${list.get(id)?.NAME ?? ""} is ${words(change.new)}`);
  if (change.kind === "service" && change.new === "DELETED") {
    list.remove(id);
    if (detail.shown() === id) detail.ended();
  }
  if (!dirty.has(id)) dirty.set(id, setTimeout(() => refresh(id), settle));
}

async function refresh(id) {
  dirty.delete(id);
  try {
    const document = await api.service(id);
    list.put(document);
    detail.show(document);
  } catch (error) {
    if (error.status === 404) list.remove(id);
    else if (error.status === 403 && !list.get(id)) return; // not for this user's eyes
    else lost(error);
  }
  if (detail.shown() === id) detail.explain();
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

// follow shows the service that the address names.
async function follow(event) {
  if (!session) return;
  const id = location.hash.match(/^#\/service\/(\d+)$/)?.[1];
  if (id === undefined) return detail.close();
  list.choose(Number(id));
  detail.open(Number(id), lost);
  if (event) {
    part("service-title").focus({ preventScroll: true });
    part("service").scrollIntoView({ block: "nearest" });
  }
  const known = list.get(Number(id));
  if (known) detail.show(known);
  detail.explain();
}

addEventListener("hashchange", follow);
login();
