// A grid of what seems to be of one class.
import {
  byId, button, isOpen, make, nameOf, nameOfKey, picture, queue, save,
  state,
} from "./state.js";

let tiles = [];
// What was done to pictures, by id: it outlives that the grid is made anew.
const marks = new Map();

const seen = new IntersectionObserver(found => {
  for (const {isIntersecting, target} of found) {
    if (isIntersecting) target.tile.isSeen = true;
    paint(target.tile);
  }
  showConfirm();
}, {threshold: 0.6});

const markOf = ({id}) => `${queue().name}/${id}`;

function groups() {
  const counts = new Map();
  for (const each of queue().entries.filter(isOpen)) {
    counts.set(each.suggested, (counts.get(each.suggested) ?? 0) + 1);
  }
  return [...counts].sort((one, other) => other[1] - one[1]);
}

export function showGrid() {
  const found = groups();
  if (!found.some(([name]) => name === state.group)) {
    state.group = found.length ? found[0][0] : null;
  }
  byId("groups").replaceChildren(...found.map(([name, count]) => {
    const element = button("", nameOf(name), () => openGroup(name));
    element.append(make("small", count));
    element.setAttribute("aria-current", name === state.group);
    return element;
  }));
  seen.disconnect();
  tiles = queue().entries
    .map((each, number) => ({each, number}))
    .filter(({each}) => isOpen(each) && each.suggested === state.group)
    .map(makeTile);
  byId("tiles").replaceChildren(...tiles.map(tile => tile.element));
  tiles.forEach(tile => seen.observe(tile.element));
  tiles[0]?.element.focus({preventScroll: true});
  showConfirm();
}

function openGroup(name) {
  state.group = name;
  scrollTo(0, 0);
  showGrid();
}

function makeTile({each, number}) {
  const element = make("button", undefined, "tile");
  const image = make("img"), text = make("span");
  element.type = "button";
  element.title = `${each.key}: ${each.why}`;
  image.loading = "lazy";
  image.alt = each.key;
  image.src = picture(number, "tile");
  element.append(image, text);
  const mark = markOf(each);
  if (!marks.has(mark)) {
    marks.set(mark, {name: each.suggested, isLeft: false, isSeen: false});
  }
  const tile = Object.assign(marks.get(mark), {each, element, text});
  image.addEventListener("error", () => {
    tile.isLeft = true;
    element.classList.add("lost");
    paint(tile);
    showConfirm();
  });
  element.tile = tile;
  element.addEventListener("click", () => leave(tile));
  paint(tile);
  return tile;
}

function paint(tile) {
  const {classList} = tile.element;
  const isOther = tile.name !== tile.each.suggested;
  classList.toggle("left", tile.isLeft);
  classList.toggle("other", isOther && !tile.isLeft);
  classList.toggle("seen", tile.isSeen && !tile.isLeft && !isOther);
  const {label} = tile.each;
  const name = label === null ? nameOf(tile.name)
    : `${label} → ${nameOf(tile.name)}`;
  tile.text.textContent = tile.isLeft ? "left for later" : name;
}

function leave(tile) {
  tile.isLeft = !tile.isLeft;
  if (tile.element.classList.contains("lost")) tile.isLeft = true;
  paint(tile);
  showConfirm();
}

function rename(tile, name) {
  if (!tile.element.classList.contains("lost")) {
    Object.assign(tile, {name, isLeft: false, isSeen: true});
  }
  paint(tile);
  showConfirm();
}

const decided = () => tiles.filter(tile => tile.isSeen && !tile.isLeft);

function showConfirm() {
  const count = decided().length;
  byId("confirm").disabled = !count;
  byId("confirm").textContent = `Save ${count} that were on the screen`;
}

export async function confirmSeen(done) {
  const decisions = decided().map(
    tile => ({id: tile.each.id, class_name: tile.name}));
  if (decisions.length && await save(decisions)) {
    decisions.forEach(each => marks.delete(markOf(each)));
    scrollTo(0, 0);
    done();
  }
}

function moveFocus(key) {
  const current = tiles.findIndex(
    tile => tile.element === document.activeElement);
  const top = tiles[0]?.element.offsetTop;
  const columns = Math.max(
    1, tiles.filter(tile => tile.element.offsetTop === top).length);
  const step = {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
  }[key];
  tiles[Math.max(0, Math.min(current + step, tiles.length - 1))]
    ?.element.focus();
}

export function pressInGrid(key, done) {
  const tile = document.activeElement?.tile;
  if (key.startsWith("Arrow")) return moveFocus(key) ?? true;
  if (key === "Enter") return confirmSeen(done) ?? true;
  if (key === " ") return (tile && leave(tile)) ?? true;
  const name = key === "n" ? null : nameOfKey(key);
  if (tile && name !== undefined) return rename(tile, name) ?? true;
  return false;
}

