// What the page asks of the API. The user's name and password live in this
// module's memory only: closing or loading the tab again forgets them.

let authorization = "";

// Refused is the error of an answer that is not a success.
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export function logIn(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  authorization = `Basic ${btoa(String.fromCodePoint(...bytes))}`;
}

export function logOut() {
  authorization = "";
}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...options.headers, Authorization: authorization } });
  if (!response.ok) {
    throw new Refused(response.status, (await response.json()).detail.split("\n")[0]);
  }
  return response;
}

const json = async (path) => (await ask(path)).json();

export const version = () => json("/flowjet/v1/version");
export const work = () => json("/flowjet/v1/work");
export const service = async (id) => (await json(`/flowjet/v1/service/${id}`)).DOCUMENT;
export const services = async () => (await json("/flowjet/v1/service")).DOCUMENT_POOL.DOCUMENT;
export const why = (id) => json(`/flowjet/v1/services/${id}/why`);

// health tells its reasons with 503 when it is bad, and needs no user.
export const health = async () => (await fetch("/flowjet/v1/health")).json();

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
