// What the page asks of the API. Name and password are sent once, for a session whose
// cookie no script can read.

// Refused is the error of an answer that is not a success.
export class Refused extends Error {
  constructor(status, problem) {
    super((problem.detail ?? "The API does not answer.").split("\n")[0]);
    this.status = status;
    this.violations = problem.violations ?? [];
  }
}

async function ask(path, options = {}) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Refused(response.status, await response.json().catch(() => ({})));
  return response;
}

const json = async (path, options) => (await ask(path, options)).json();

export function begin(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  return json("/flowjet/v1/session", { method: "POST", headers: { Authorization: `Basic ${btoa(String.fromCodePoint(...bytes))}` } });
}

export const session = () => json("/flowjet/v1/session");
export const end = () => ask("/flowjet/v1/session", { method: "DELETE" });
export const version = () => json("/flowjet/v1/version");
export const work = () => json("/flowjet/v1/work");
export const services = (query) => json(`/flowjet/v1/services?${query}`);
export const templates = async () => (await json("/flowjet/v1/templates")).templates;
export const why = (id) => json(`/flowjet/v1/services/${id}/why`);

export const service = (id, columns) => json(`/flowjet/v1/services/${id}?columns=${columns}`);

// health tells its reasons with 503 when it is bad, and needs no user.
export const health = async () => (await fetch("/flowjet/v1/health")).json();

const sends = { "Content-Type": "application/json" };

// plan is what a change would do, with the tag of the service's version that it is planned for.
export async function plan({ method, path, body }) {
  const response = await ask(`/flowjet/v1${path}?dry_run=true`, { method, headers: sends, body: body && JSON.stringify(body) });
  return { ...(await response.json()), etag: response.headers.get("ETag") };
}

// change makes a change, of the version that etag names if there is one, and returns what the API says, if
// anything. The same key acts once, however often it is sent.
export async function change({ method, path, body }, { key, etag }) {
  const headers = { ...sends, "Idempotency-Key": key, ...(etag ? { "If-Match": etag } : {}) };
  const response = await ask(`/flowjet/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  return response.status === 204 ? null : response.json();
}

// follow calls tell(event) with what happens to services, to one or, without an
// id, to all that the user may see, and goes on by itself where a connection
// broke off. since is the id of the event to begin behind, null for now. It ends
// when signal is aborted, or when the user is not known any more: it throws then.
export async function follow({ service, since = null, signal, tell, state = () => {} }) {
  let last = since;
  for (let wait = 500; !signal.aborted; wait = Math.min(2 * wait, 10000)) {
    try {
      const query = new URLSearchParams();
      if (service !== undefined) query.set("service", service);
      if (last !== null) query.set("since", last);
      const response = await ask(`/flowjet/v1/events?${query}`, { signal });
      state(true);
      wait = 500;
      for await (const event of events(response.body)) {
        last = event.id;
        tell(event);
      }
    } catch (error) {
      if (signal.aborted) return;
      if ([401, 403, 404].includes(error.status)) throw error;
    }
    if (signal.aborted) return;
    state(false);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

// events reads server-sent events: {id, data}.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const pieces = (text + value).split("\n\n");
    text = pieces.pop();
    for (const piece of pieces) {
      const fields = Object.fromEntries(piece.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
      if (fields.data) yield { id: Number(fields.id), data: JSON.parse(fields.data) };
    }
  }
}
