// Feeds, workers, and what waits.

import * as api from "./api.js";
import { el, part, redraw, table } from "./elements.js";

const sign = (good, name) => el("span", { class: `state ${good ? "running" : "failed"}` }, name);

function showHealth(health) {
  redraw(part("health"), health.ready
    ? el("p", {}, sign(true, "ready"), " Requests can be served.")
    : el("ul", {}, health.reasons.map((reason) => el("li", { class: "problem" }, reason))));
  const feeds = health.feeds ?? [];
  redraw(part("feeds"), feeds.length === 0
    ? el("p", { class: "quiet" }, "The process that serves this page has no bridge.")
    : table("Endpoints of hook events, as the process that serves this page sees them",
      [{ title: "Endpoint" }, { title: "State" }, { title: "Stores events" }, { title: "Events/s", number: true }, { title: "Silent, s", number: true }, { title: "Wait", number: true }, { title: "Gaps", number: true }],
      feeds.map((feed) => [feed.endpoint, sign(feed.connected, feed.connected ? "connected" : `disconnected${feed.error ? `: ${feed.error}` : ""}`),
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
  const also = (name) => [name === work.router && "routes events", name === work.autoscaler && "autoscaler"].filter(Boolean).join(", ") || "–";
  const gone = [
    ...(work.members ?? []).filter((member) => member.missing).map((member) => [member.name, `has not reported since ${new Date(member.missing).toLocaleString()}`]),
    ...(work.servers ?? []).filter((server) => server.away).map((server) => [`NATS server ${server.name}`, "is unreachable"]),
  ];
  redraw(part("workers"),
    ...gone.map(([name, what]) => el("p", { class: "problem" }, sign(false, name), ` ${what}.`)),
    shares.size === 0
      ? el("p", { class: "problem" }, sign(false, "no worker"), ` No worker is running: ${orphaned} wake-ups are pending. Start one with \`flowjet up\`.`)
      : table(`${work.events_waiting} events are not routed yet, ${work.commands_waiting} commands are pending, ${work.dead_letters} dead letters`,
        [{ title: "Worker" }, { title: "State" }, { title: "Partitions" }, { title: "Tasks" }, { title: "Pending wake-ups", number: true }],
        [...shares.values()].map(({ worker, parts, waiting }) => [worker.name, sign(!worker.blind, worker.blind ? "cannot reach oned" : "running"),
          parts.join(", ") || "none", also(worker.name), `${waiting}`])));
}

export async function refresh() {
  try {
    showHealth(await api.health());
  } catch {
    redraw(part("health"), el("p", { class: "problem" }, sign(false, "unreachable"), " The API does not answer."));
  }
  try {
    showWork(await api.work());
  } catch (error) {
    redraw(part("workers"), el("p", { class: "quiet" }, error.message));
  }
}
