// What is shown stands in the address: #/service/12?q=web&state=WARNING&sort=name&offset=50.

const names = ["q", "state", "sort", "offset"];

// read returns what the address asks for: {view, id, query}. What is no view is the list.
export function read() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [, view = "services", id = null] = path.match(/^(?:(templates|system)|service\/(\d+))$/) ?? [];
  return { view: id ? "service" : view, id: id && Number(id), query: new URLSearchParams(search) };
}

// link is the address of a view with the list as it is, but for what changes.
export function link(view, id, changes = {}) {
  const query = new URLSearchParams();
  const now = read().query;
  for (const name of names) {
    const value = name in changes ? changes[name] : now.get(name);
    if (value) query.set(name, value);
  }
  const search = query.size ? `?${query}` : "";
  return `#/${view}${id === null || id === undefined ? "" : `/${id}`}${search}`;
}

// change stays in the view and changes the list.
export function change(changes) {
  const { view, id } = read();
  location.replace(link(view, id, changes));
}
