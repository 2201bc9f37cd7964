// What is shown: one object of plain values, written into the address, so that a link leads back to the same view.

const sent = JSON.parse(document.getElementById("payload").textContent);
// A product of groups is shown factor by factor; the address says which.
const part = Math.max(
  0,
  Math.min((sent.parts?.length ?? 1) - 1, Math.floor(Number(new URLSearchParams(location.hash.slice(1)).get("part")) || 0)),
);
const page = sent.parts?.[part] ?? sent;
const models = page.models,
  count = page.count,
  grid = page.grid,
  elements = grid.names.length;
const shape = grid.axes.map(axis => axis.labels.length);

const DEFAULTS = {
  model: 0,
  hidden: "",
  sample: -1,
  element: 0,
  brush: "",
  keep: "all",
  cls: "",
  quantity: "error",
  part: 0,
  scale: "linear",
  color: "mean",
  panel: "",
  space: "ball",
  size: "memory",
  dtype: "", // in which a live page asks; that of the audit
  beyond: "", // the grid: positions of the sliders between its elements, or "draw:7"; on a live page only
};
const state = { ...DEFAULTS };
const watchers = [];

// draw(changed) runs after every change of one of `keys`, once per frame.
function watch(keys, draw) {
  watchers.push({ keys, draw });
}

const waiting = new Set();
let frame = 0,
  later = 0;
function set(changes) {
  if ("element" in changes && !("beyond" in changes)) changes = { ...changes, beyond: "" };
  for (const [key, value] of Object.entries(changes))
    if (state[key] !== value) {
      state[key] = value;
      waiting.add(key);
    }
  if (waiting.size && !frame) frame = requestAnimationFrame(flush);
}
function flush() {
  frame = 0;
  const changed = new Set(waiting);
  waiting.clear();
  if (["brush", "keep", "cls", "model", "quantity", "dtype"].some(key => changed.has(key))) chosen = null;
  for (const watcher of watchers) if (changed.has("all") || watcher.keys.some(key => changed.has(key))) watcher.draw(changed);
  clearTimeout(later);
  later = setTimeout(() => {
    try {
      history.replaceState(null, "", address());
    } catch {
      /* some viewers forbid it */
    }
  }, 200);
}
// What the server has said about what is chosen; null on a page from disk, and until it has answered.
let heard = null;
const place = () => [part, state.model, state.sample, state.element, state.beyond, state.dtype].join("|");
const present = () => (heard?.place === place() ? heard : null);
// Whole orbits and ladders of layers that it has answered with, by what they are about; `failed` where it could not.
const answered = { orbit: new Map(), ladder: new Map() };
const found = answer => (answer && !answer.failed ? answer : null);
const aboutOrbit = (m = state.model, s = state.sample) => [m, s, state.dtype].join("|");
const heardOrbit = () => (state.sample >= 0 ? found(answered.orbit.get(aboutOrbit())) : null);
const heardTable = m => found(answered.orbit.get(aboutOrbit(m, -1)));
const heardLadder = () => answered.ladder.get(place());
const pending = () => (state.beyond || state.dtype) && !present(); // nothing recorded can stand in
const inDtype = () => (state.dtype ? ` in ${state.dtype}` : "");

function redraw() {
  chosen = null;
  waiting.add("all");
  if (!frame) frame = requestAnimationFrame(flush);
}

// ------------------------------------------------------------------ the address

function address(panel = state.panel) {
  const told = Object.entries({ ...state, panel }).filter(([key, value]) => String(value) !== String(DEFAULTS[key]));
  return "#" + new URLSearchParams(told.map(([key, value]) => [key, key === "model" ? models[value].name : String(value)]));
}

// What an address may ask for; anything else is as if it were not there.
const ALLOWED = {
  scale: /^(linear|log)$/,
  keep: /^(all|worst|best)$/,
  color: /^(mean|here|class)$/,
  space: /^(ball|sphere|graph)$/,
  size: /^(memory|seconds|parameters)$/,
  cls: /^\d*$/,
  hidden: /^(\d,?)*$/,
  brush: /^(-?\d[\d.]*(e[-+]?\d+)?(,|$)){4}$/,
  dtype: /^(float64|float32|bfloat16)?$/,
  beyond: /^(draw:\d{1,9}|(\d{1,6}(\.\d{1,6})?(,|$)){1,8})$/,
};

function restore() {
  const told = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const whole = (text, low, high, fallback) => {
    const n = Number(text);
    return text !== undefined && Number.isInteger(n) && n >= low && n <= high ? n : fallback;
  };
  const start = worstPlace();
  const fits = ([key, value]) => key in DEFAULTS && (!(key in ALLOWED) || ALLOWED[key].test(value));
  const named = models.findIndex(m => m.name === told.model);
  Object.assign(state, DEFAULTS, Object.fromEntries(Object.entries(told).filter(fits)), {
    model: Math.max(0, named),
    sample: whole(told.sample, -1, count - 1, start.sample),
    element: whole(told.element, 0, elements - 1, start.element),
  });
  state.part = part;
  if (!sent.live) state.dtype = "";
  if (!sent.live || (state.beyond && !state.beyond.startsWith("draw:") && !inside(positions()))) state.beyond = "";
  if (!models[0].quantities.some(q => q.name === state.quantity)) state.quantity = "error";
}

// Where a reader starts: the worst element of the first model, and a sample that travels with the page and does badly there.
function worstPlace() {
  const values = table(0, "error").data,
    mean = new Float64Array(elements);
  for (let s = 0; s < count; s++) for (let k = 0; k < elements; k++) mean[k] += values[s * elements + k];
  const element = most(Array.from(mean));
  return { element, sample: page.kept.length ? page.kept[most(page.kept.map(s => values[s * elements + element]))] : -1 };
}
const most = values => values.reduce((best, v, i) => (v > values[best] ? i : best), 0);

// ------------------------------------------------------------------ numbers

const quantity = (m, name = state.quantity) => models[m].quantities.find(q => q.name === name) ?? models[m].quantities[0];
const table = (m, name = state.quantity) =>
  decode((quantity(m, name).name === "error" && heardTable(m)?.errors) || quantity(m, name).values);
const floors = () => decode(grid.floors).data;
const shown = () => models.map((_, i) => i).filter(i => !state.hidden.split(",").includes(String(i)));

// Samples that pass the brush, the class and the rank.
let chosen = null;
function selection() {
  if (chosen) return chosen;
  let found = Array.from({ length: count }, (_, s) => s);
  const points = embedding();
  if (state.brush && points) {
    const [x0, y0, x1, y1] = state.brush.split(",").map(Number);
    found = found.filter(s => {
      const [x, y] = row(points, s).data;
      return x >= x0 && x <= x1 && y >= y0 && y <= y1;
    });
  }
  if (state.cls !== "" && page.labels) found = found.filter(s => page.labels[s] === Number(state.cls));
  if (state.keep !== "all") {
    const means = sampleMeans(state.model),
      sign = (state.keep === "worst" ? -1 : 1) * (quantity(state.model).better === "higher" ? -1 : 1);
    found = [...found].sort((a, b) => sign * (means[a] - means[b])).slice(0, Math.max(1, Math.round(found.length / 10)));
  }
  return (chosen = found);
}
const embedding = () => decode(heardTable(state.model)?.embedding ?? page.embedding[models[state.model].name]);

// Mean over the chosen samples, one number per element.
function aggregate(m) {
  const values = table(m).data,
    rows = selection(),
    out = new Float64Array(elements);
  for (const s of rows) for (let k = 0; k < elements; k++) out[k] += values[s * elements + k] / rows.length;
  return out;
}
const individual = (m, s) => row(table(m), s).data;

// Mean over elements (the identity left out), one number per sample.
function sampleMeans(m, name) {
  const values = table(m, name).data,
    out = new Float64Array(count),
    counted = elements - (grid.identity >= 0 && elements > 1);
  for (let s = 0; s < count; s++)
    for (let k = 0; k < elements; k++) if (k !== grid.identity || elements === 1) out[s] += values[s * elements + k] / counted;
  return out;
}

const named = (k, most = 30) => (grid.names[k].length > most ? `${grid.names[k].slice(0, most - 1)}…` : grid.names[k]);
function unravel(k) {
  const out = [];
  for (let i = shape.length - 1; i >= 0; i--) {
    out.unshift(k % shape[i]);
    k = Math.floor(k / shape[i]);
  }
  return out;
}
// Where the sliders stand, between elements too; drawn elements stand nowhere.
const drawn = () => state.beyond.startsWith("draw:");
const positions = () => (state.beyond && !drawn() ? state.beyond.split(",").map(Number) : unravel(state.element));
const inside = at => at.length === shape.length && at.every((v, i) => v >= 0 && v <= shape[i] - 1);
function stand(at) {
  set({ element: ravel(at.map(Math.round)), beyond: at.every(Number.isInteger) ? "" : at.join(",") });
}
const ravel = at => at.reduce((k, v, i) => k * shape[i] + v, 0);
