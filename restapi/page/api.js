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

// away turns the failure of a connection into a sentence.
function away(error) {
  throw error.name === "AbortError" ? error : new Refused(undefined, {});
}

// ask waits for an answer for as many ms as patience has, 0 for ever.
async function ask(path, { signal, ...options } = {}, patience = 60000) {
  const signals = [signal, patience && AbortSignal.timeout(patience)].filter(Boolean);
  const response = await fetch(path, { ...options, signal: AbortSignal.any(signals) }).catch(away);
  if (!response.ok) throw new Refused(response.status, await response.json().catch(() => ({})));
  return response;
}

const json = async (path, options) => (await ask(path, options)).json().catch(away);

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
export const why = (id, signal) => json(`/flowjet/v1/services/${id}/why`, { signal });
export const service = (id, columns, signal) => json(`/flowjet/v1/services/${id}?columns=${columns}`, { signal });
export const command = (id) => json(`/flowjet/v1/commands/${id}`);

// health tells its reasons with 503 when it is bad, and needs no user.
export const health = async () => (await fetch("/flowjet/v1/health").catch(away)).json();

const sends = { "Content-Type": "application/json" };

// plan is what a change would do, with the tag of the service's version that it is planned for.
export async function plan({ method, path, body }) {
  const response = await ask(`/flowjet/v1${path}?dry_run=true`, { method, headers: sends, body: body && JSON.stringify(body) });
  return { ...(await response.json()), etag: response.headers.get("ETag") };
}

// change makes a change, of the version that etag names if there is one, and returns {answer}, or {queued} with the
// command's id if no worker has carried it out yet. The same key acts once, however often it is sent.
export async function change({ method, path, body }, { key, etag }) {
  const headers = { ...sends, "Idempotency-Key": key, ...(etag ? { "If-Match": etag } : {}) };
  const response = await ask(`/flowjet/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  const answer = response.status === 204 ? null : await response.json().catch(away);
  return response.status === 202 ? { queued: answer.id } : { answer };
}

const silence = 40000; // ms after which a stream is given up: the API sends something every 15 s

// follow calls tell(event) with what happens from now on to the services that the user may see, and goes on by itself
// where a connection broke off. It ends when signal is aborted, or when the user is not known any more: it throws then.
export async function follow({ signal, tell, state }) {
  let last = null;
  for (let wait = 500; !signal.aborted; wait = Math.min(2 * wait, 10000)) {
    const quiet = new AbortController();
    let timer;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => quiet.abort(), silence);
    };
    try {
      heard();
      const response = await ask(`/flowjet/v1/events${last === null ? "" : `?since=${last}`}`, { signal: AbortSignal.any([signal, quiet.signal]) }, 0);
      state(true);
      wait = 500;
      for await (const event of events(response.body, heard)) {
        last = event.id;
        tell(event.data);
      }
      state(false);
    } catch (error) {
      if (signal.aborted) return;
      if ([401, 403, 404].includes(error.status)) throw error;
      state(false, error.status && error.message);
    } finally {
      clearTimeout(timer);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

// history calls tell(event) with what has happened to a service since an event, 0 for all that is kept.
export async function history(service, since, signal, tell) {
  const response = await ask(`/flowjet/v1/events?service=${service}&since=${since}&follow=false`, { signal });
  for await (const event of events(response.body)) tell(event);
}

// events reads server-sent events: {id, data}. It calls heard whenever something comes.
async function* events(body, heard = () => {}) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read().catch(away);
    if (done) return;
    heard();
    const pieces = (text + value).split("\n\n");
    text = pieces.pop();
    for (const piece of pieces) {
      const fields = Object.fromEntries(piece.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
      if (fields.data) yield { id: Number(fields.id), data: JSON.parse(fields.data) };
    }
  }
}
