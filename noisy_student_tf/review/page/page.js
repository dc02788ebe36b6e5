// The page: one picture after the other, and what keys do.
import {
  ask, assignKeys, byId, button, entry, exchange, isOpen, keyOf, make, nameOf,
  nameOfKey, picture, queue, save, state,
} from "./state.js";
import {confirmSeen, pressInGrid, showGrid} from "./grid.js";

// Classes have the other keys.
const COMMANDS = {
  accept: {key: " ", name: "Space", text: "what it seems to be"},
  none: {key: "n", name: "n", text: "none of these"},
  skip: {key: "ArrowRight", name: "→", text: "skip"},
  back: {key: "ArrowLeft", name: "←", text: "back"},
  undo: {key: "u", name: "u", text: "undo"},
  grid: {key: "g", name: "g", text: "grid, or one by one"},
  queue: {key: "q", name: "q", text: "next queue"},
};
// Those that need no picture.
const ANYWHERE = ["undo", "grid", "queue"];
const PICTURES_AHEAD = 3;
const FEW_CLASSES = 9;

async function decide(name) {
  const current = entry();
  // Nobody decides on what cannot be seen.
  if (!current || !byId("lost").hidden) return;
  if (await save([{id: current.id, class_name: name}])) {
    move(1, true);
  }
}

function move(step, onlyOpen) {
  const {entries} = queue();
  let place = state.place + step;
  while (onlyOpen && entries[place] && !isOpen(entries[place])) place += step;
  state.place = Math.max(0, Math.min(place, entries.length));
  show();
}

async function undo() {
  const found = await exchange("undo", {});
  if (!found) return;
  const place = queue().entries.findIndex(
    each => found.undone.includes(each.id));
  if (place >= 0 && !state.isGrid) state.place = place;
  show();
}

function showSingle() {
  const shown = entry();
  byId("picture").hidden = false;
  byId("lost").hidden = true;
  byId("picture").src = picture(state.place, "whole");
  byId("picture").alt = shown.key;
  byId("key").textContent = shown.key;
  byId("place").textContent = `${state.place + 1} of ${queue().entries.length}`;
  byId("label").textContent = shown.label === null
    ? `${nameOf(shown.suggested)}?`
    : `${shown.label}? Or ${nameOf(shown.suggested)}?`;
  byId("why").textContent = `Shown because ${shown.why}.`;
  byId("best").replaceChildren(...shown.best.map(share));
  const answer = state.answers.get(shown.id);
  byId("answer").textContent =
    answer ? `${answer.who}: ${nameOf(answer.class_name)}` : "";
  const listed = state.keys
    ? state.session.class_names : shown.best.map(([name]) => name);
  byId("classes").replaceChildren(...listed.map(name => {
    const element = button(keyOf(name), name, () => decide(name));
    if (name === shown.suggested) element.classList.add("suggested");
    if (answer?.class_name === name) element.classList.add("answered");
    return element;
  }));
  for (let next = 1; next <= PICTURES_AHEAD; next++) {
    if (queue().entries[state.place + next]) {
      new Image().src = picture(state.place + next, "whole");
    }
  }
}

function share([name, probability]) {
  const row = make("div", undefined, "share");
  const track = make("i"), filled = make("u");
  filled.style.width = `${100 * probability}%`;
  track.append(filled);
  const percent = `${(100 * probability).toFixed(1)} %`;
  row.append(make("span", name), track, make("span", percent));
  return row;
}

function show() {
  const {entries, missing, about} = queue();
  byId("about").textContent = about;
  byId("queues").replaceChildren(...state.session.queues.map((each, number) => {
    const element = button("", each.title, () => openQueue(number));
    element.append(make("small", each.entries.filter(isOpen).length));
    element.setAttribute("aria-current", number === state.queue);
    return element;
  }));
  const isEmpty = !entries.length || (state.isGrid
    ? !entries.some(isOpen) : state.place >= entries.length);
  byId("empty").hidden = !isEmpty;
  byId("single").hidden = isEmpty || state.isGrid;
  byId("grid").hidden = isEmpty || !state.isGrid;
  if (isEmpty) showEmpty(missing);
  else if (state.isGrid) showGrid();
  else showSingle();
  const num = [...state.answers.values()].filter(Boolean).length;
  byId("footer").textContent =
    `${num} decisions in ${state.session.file}; yours as ` +
    `${state.session.who}. The page is for this machine alone, and for ` +
    "whoever has the token in its address.";
}

function showEmpty(missing) {
  const numOpen = queue().entries.filter(isOpen).length;
  const texts = missing ? [missing]
    : queue().entries.length ? [`The end of this queue; ${numOpen} were ` +
      "skipped. ← goes back, q to the next queue, u takes back."]
    : ["No picture of the run is in this queue."];
  byId("empty").replaceChildren(...texts.map(text => make("p", text)));
}

function openQueue(number) {
  state.queue = number;
  state.place = 0;
  state.group = null;
  const {entries} = queue();
  if (entries.length && !isOpen(entries[0])) move(1, true);
  else show();
}

function toggleGrid() {
  state.isGrid = !state.isGrid;
  show();
}

const ACTIONS = {
  accept: () => entry() && decide(entry().suggested),
  none: () => decide(null), skip: () => move(1, true), back: () => move(-1),
  undo, grid: toggleGrid,
  queue: () => openQueue((state.queue + 1) % state.session.queues.length),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  // A key that is held down decides once.
  if (event.repeat && !event.key.startsWith("Arrow")) return;
  if (event.target === byId("wanted")) {
    if (event.key === "Escape") byId("wanted").blur();
    return;
  }
  if (byId("help").open) return;
  if (press(event.key)) event.preventDefault();
}

function press(key) {
  if (key === "?") return byId("help").showModal() ?? true;
  if (key === "/" && !state.isGrid) {
    byId("search").hidden = false;
    return byId("wanted").focus() ?? true;
  }
  if (state.isGrid && pressInGrid(key, show)) return true;
  const command = Object.keys(COMMANDS)
    .find(name => COMMANDS[name].key === key);
  if (state.isGrid && !ANYWHERE.includes(command)) return false;
  if (command) return ACTIONS[command]() ?? true;
  const name = nameOfKey(key);
  return name !== undefined && (decide(name) ?? true);
}

function describeKeys() {
  const list = make("dl");
  const rows = Object.values(COMMANDS).map(each => [each.name, each.text]);
  rows.push(["1 2 …", "a class"], ["/", "a class by its name"]);
  rows.push(["In the grid", "arrows move, Space leaves a picture for later, " +
    "a class's key or n gives it another class, Enter saves those that were " +
    "on the screen"]);
  for (const [key, text] of rows) {
    list.append(make("dt"), make("dd", text));
    list.lastChild.previousSibling.append(make("kbd", key));
  }
  byId("help").replaceChildren(list);
}

function prepare() {
  const {session} = state;
  assignKeys(session.class_names);
  document.title = `Review of ${session.run}`;
  byId("run").textContent = session.run;
  byId("names").replaceChildren(...session.class_names.map(name => {
    const option = make("option");
    option.value = name;
    return option;
  }));
  for (const [name, each] of Object.entries(COMMANDS)) {
    byId(ANYWHERE.includes(name) ? "anywhere" : "commands").append(
      button(each.name, each.text, () => ACTIONS[name]()));
  }
  const keys = [...state.keys ?? []].map(
    ([name, key]) => name === key ? key : `${key} ${name}`);
  byId("hint").textContent = "Arrows and Space leave a picture for later; " +
    `${[...keys, "n none of these"].join(", ")}; Enter saves.`;
  byId("search").hidden = session.class_names.length <= FEW_CLASSES;
  describeKeys();
  document.addEventListener("keydown", onKey);
  // A button would take its release for a click.
  document.addEventListener("keyup", event => {
    if (event.key === " " && event.target !== byId("wanted")) {
      event.preventDefault();
    }
  });
  byId("confirm").addEventListener("click", () => confirmSeen(show));
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  byId("help").addEventListener("click", () => byId("help").close());
  byId("picture").addEventListener("error", () => {
    byId("picture").hidden = true;
    byId("lost").hidden = false;
  });
  byId("search").addEventListener("submit", event => {
    event.preventDefault();
    const text = byId("wanted").value.toLowerCase();
    const name = session.class_names.find(
      each => each.toLowerCase() === text) ??
      session.class_names.find(each => each.toLowerCase().startsWith(text));
    if (!text || name === undefined) return;
    byId("wanted").value = "";
    byId("wanted").blur();
    decide(name);
  });
  // What another tab, or another person, decided in the meantime.
  window.addEventListener("focus", async () => {
    const found = await exchange("answers");
    if (found && Object.keys(found.answers).length) show();
  });
}

async function begin() {
  state.session = await ask("session");
  prepare();
  await exchange("answers");
  const first = state.session.queues.findIndex(
    each => each.entries.some(isOpen));
  openQueue(Math.max(0, first));
  document.documentElement.dataset.ready = "true";
}

begin().catch(error => {
  byId("problem").textContent = error.message;
  byId("problem").hidden = false;
});
