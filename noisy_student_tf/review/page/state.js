// What the page knows, and what it asks the server.
// Those that are no command's.
const KEYS = "0123456789abcdefhijklmoprstvwxyz";

export const state = {
  session: null, keys: null, answers: new Map(), version: 0, queue: 0, place: 0,
  isGrid: false, group: null, isBusy: false,
};
export const byId = id => document.getElementById(id);

export function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

export function button(key, text, action) {
  const element = make("button");
  element.type = "button";
  if (key) element.append(make("kbd", key));
  element.append(text);
  element.addEventListener("click", action);
  return element;
}

export const queue = () => state.session.queues[state.queue];
export const entry = () => queue().entries[state.place];
export const nameOf = name => name === null ? "none of these" : name;
export const isOpen = each => !state.answers.get(each.id);
export const picture = (number, size) =>
  `picture/${queue().name}/${number}?size=${size}`;

// Class -> key. A name of one character is its own key; the others get what is
// left, in order. More classes than keys have none.
export function assignKeys(names) {
  const own = names.filter(name => [...KEYS].includes(name));
  const left = [...KEYS].filter(key => key !== "0" && !own.includes(key));
  const keys = new Map(names.map(
    name => [name, own.includes(name) ? name : left.shift()]));
  state.keys = [...keys.values()].every(Boolean) ? keys : null;
}

export function keyOf(name) {
  if (state.keys) return state.keys.get(name);
  // The best classes of the picture have the first ones.
  const rank = entry().best.findIndex(([best]) => best === name);
  return rank < 0 ? "" : String(rank + 1);
}

export function nameOfKey(key) {
  if (state.keys) {
    return [...state.keys].find(([, each]) => each === key)?.[0];
  }
  return state.isGrid ? undefined : entry()?.best[Number(key) - 1]?.[0];
}

export async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body),
    headers: {"Content-Type": "application/json"},
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error(
      "The server does not answer; this was not saved. Start " +
      "run_scripts.review again and open the address that it prints.");
  }
  if (!response.ok) {
    const text = await response.text();
    let detail = text;
    try { detail = JSON.parse(text).detail; } catch { /* It is no JSON. */ }
    throw new Error(
      typeof detail === "string" ? detail : JSON.stringify(detail));
  }
  return response.json();
}

export async function exchange(path, body) {
  if (state.isBusy) return null;
  state.isBusy = true;
  try {
    const found = await ask(`${path}?since=${state.version}`, body);
    state.version = found.version;
    for (const [id, answer] of Object.entries(found.answers)) {
      state.answers.set(id, answer);
    }
    byId("problem").hidden = true;
    return found;
  } catch (error) {
    byId("problem").textContent = error.message;
    byId("problem").hidden = false;
    return null;
  } finally {
    state.isBusy = false;
  }
}

export const save = decisions =>
  exchange("answers", {queue: queue().name, decisions});

