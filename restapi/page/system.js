// Feeds, workers, and what waits.

import * as api from "./api.js";
import { el, part, table } from "./elements.js";

const every = 5000; // ms

const sign = (good, name) => el("span", { class: `state ${good ? "running" : "failed"}` }, name);

function showHealth(health) {
  part("health").replaceChildren(health.ready
    ? el("p", {}, sign(true, "ready"), " Requests can be served.")
    : el("ul", {}, health.reasons.map((reason) => el("li", { class: "problem" }, reason))));
  const feeds = health.feeds ?? [];
  part("feeds").replaceChildren(feeds.length === 0
    ? el("p", { class: "quiet" }, "The process that answers here listens to no feed itself.")
    : table("Endpoints of hook events, as the process that answers here hears them",
      [{ title: "Endpoint" }, { title: "Is" }, { title: "Stores events" }, { title: "Events/s", number: true }, { title: "Silent, s", number: true }, { title: "Wait", number: true }, { title: "Gaps", number: true }],
      feeds.map((feed) => [feed.endpoint, sign(feed.connected, feed.connected ? "connected" : `broken${feed.error ? `: ${feed.error}` : ""}`),
        feed.publishes ? "yes" : "no, another bridge does", feed.events_per_second.toFixed(1), `${feed.silent_seconds}`, `${feed.waiting}`, `${feed.gaps}`])));
}

function showWork(work) {
  const shares = new Map(work.workers.map((worker) => [worker.name, { worker, parts: [], waiting: 0 }]));
  let orphaned = 0;
  for (const { partition, worker, waiting } of work.partitions) {
    const share = shares.get(worker);
    if (share) {
      share.parts.push(partition);
      share.waiting += waiting;
    } else {
      orphaned += waiting;
    }
  }
  const also = (name) => [name === work.router && "shares events out", name === work.autoscaler && "scales roles"].filter(Boolean).join(", ") || "–";
  const gone = [
    ...(work.members ?? []).filter((member) => member.missing).map((member) => [member.name, `is not heard since ${new Date(member.missing).toLocaleString()}`]),
    ...(work.servers ?? []).filter((server) => server.away).map((server) => [`NATS server ${server.name}`, "is away"]),
  ];
  part("workers").replaceChildren(
    ...gone.map(([name, what]) => el("p", { class: "problem" }, sign(false, name), ` ${what}.`)),
    shares.size === 0
      ? el("p", { class: "problem" }, sign(false, "no worker"), ` No worker is alive: ${orphaned} wake-ups wait. Start one with \`flowjet up\`.`)
      : table(`${work.events_waiting} events are not shared out yet, ${work.commands_waiting} commands wait, ${work.dead_letters} messages were given up`,
        [{ title: "Worker" }, { title: "Is" }, { title: "Owns partitions" }, { title: "Also" }, { title: "Wake-ups wait", number: true }],
        [...shares.values()].map(({ worker, parts, waiting }) => [worker.name, sign(!worker.blind, worker.blind ? "cut off from oned" : "alive"),
          parts.join(", ") || "none", also(worker.name), `${waiting}`])));
}

async function look() {
  try {
    showHealth(await api.health());
  } catch {
    part("health").replaceChildren(el("p", { class: "problem" }, sign(false, "unreachable"), " The API does not answer."));
  }
  try {
    showWork(await api.work());
  } catch (error) {
    part("workers").replaceChildren(el("p", { class: "quiet" }, error.message));
  }
}

// watch looks again and again, while the page is to be seen, until it is aborted.
export function watch(signal) {
  const again = () => { if (!document.hidden) look(); };
  look();
  const timer = setInterval(again, every);
  document.addEventListener("visibilitychange", again, { signal });
  signal.addEventListener("abort", () => clearInterval(timer));
}
