// The live page: asks the server for what is chosen, wherever a slider stands. One question at a time, the newest next; when
// the sliders rest, the figures around follow: the sample's whole orbit and the layers at this element.

const client = Array.from(crypto.getRandomValues(new Uint8Array(12)), v => v.toString(16).padStart(2, "0")).join("");
const status = html("span", { id: "live" }, "asking the server");
const REST = 350, // milliseconds without a change
  QUICK = 400, // a slower model is asked for whole orbits by a button only
  KEPT = 200; // answers that are remembered
let opened = null, // what can be asked here
  turns = 0,
  busy = false,
  wanted = false,
  slow = false,
  timer = 0,
  resting = 0;

async function post(what, more) {
  const response = await fetch(`/api/${what}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ page: sent.live.page, part, ...more }),
  });
  const told = await response.json();
  if (response.ok) return told;
  throw Object.assign(new Error(told.failed?.message ?? response.statusText), { kind: told.failed?.kind });
}
const question = (what, more) =>
  post(what, { model: state.model, ...(state.dtype ? { dtype: state.dtype } : {}), ...more, client, turn: ++turns });
const where = () => (drawn() ? { draw: Number(state.beyond.slice(5)) } : { at: positions() });

// Soon, so that a quick drag asks once; and never while a question is open.
function ask() {
  clearTimeout(timer);
  clearTimeout(resting);
  timer = setTimeout(() => {
    if (busy) wanted = true;
    else here();
  }, 15);
}

// What is chosen, at the element where the slider stands.
async function here() {
  const model = opened.models[state.model],
    now = place();
  wanted = false;
  if (!model.live) {
    tell(`${model.name}: ${model.why}`);
    return;
  }
  if (heard?.place !== now) {
    const begun = performance.now(),
      whole = state.sample >= 0 && keptPlace(state.sample) < 0;
    await answering(async () => {
      const answer = await question("at", { sample: state.sample, ...where(), whole });
      heard = { ...answer, error: number(answer.error), place: now };
      note("heard");
      slow = performance.now() - begun > QUICK;
      tell(`live, ${Math.round(performance.now() - begun)} ms`, false);
    });
  }
  if (wanted) here();
  else resting = setTimeout(() => !slow && around(), REST);
}

// The figures around: whatever of them is not known yet.
async function around() {
  if (busy || wanted || !present()) return; // what raises here would raise there
  if (state.sample >= 0) await learn("orbit", aboutOrbit(), { sample: state.sample });
  if (laddered && !wanted) await learn("ladder", place(), { sample: state.sample, ...where() });
  if (wanted) here();
}
async function everything() {
  tell("asking for all samples");
  while (busy) await new Promise(done => setTimeout(done, 50));
  const key = aboutOrbit(state.model, -1);
  await learn("orbit", key, { sample: -1 });
  if (answered.orbit.has(key)) tell(answered.orbit.get(key).failed ?? "all samples measured");
  redraw();
  if (wanted) here();
  else around();
}
async function learn(what, key, more) {
  if (answered[what].has(key)) return;
  await answering(async () => {
    const answer = await question(what, more).catch(error => {
      if (["input", "model"].includes(error.kind)) return { failed: error.message }; // it would say so again
      throw error;
    });
    keep(what, key, answer);
  });
}
function keep(what, key, answer) {
  answered[what].set(key, answer);
  if (answered[what].size > KEPT) answered[what].delete(answered[what].keys().next().value);
  note("answered");
}

// One question: what fails is told, and what is busy is asked again.
async function answering(asking) {
  busy = true;
  try {
    await asking();
  } catch (error) {
    if (error.kind !== "superseded") tell(error.kind ? error.message : "the server does not answer");
    if (error.kind === "busy") setTimeout(ask, 1000);
  }
  busy = false;
}

function note(what) {
  waiting.add(what);
  if (!frame) frame = requestAnimationFrame(flush);
}
// Failures are spoken as well; what every drag says is not.
function tell(text, aloud = true) {
  status.textContent = text;
  if (aloud) say(text);
}

const pushes = [
  [
    "random element",
    "one that is not on the grid",
    () => set({ element: state.element, beyond: `draw:${crypto.getRandomValues(new Uint32Array(1))[0] % 1e9}` }),
  ],
  ["whole orbit", "the chosen sample's orbit and the layers at this element, now", () => around()],
  ["all samples", "every sample at every element, now: means, overview and table follow", () => everything()],
].map(([text, title, onclick]) => html("button", { type: "button", title, onclick, hidden: true }, text));
const precision = choice("precision", "dtype", [
  ["", `as audited (${models[0].audit.dtype})`],
  ...["float64", "float32", "bfloat16"].map(name => [name, name]),
])();
document.getElementById("bar").append(html("div", { class: "live" }, precision, pushes, status));
post("open", {}).then(
  told => {
    opened = told;
    for (const push of pushes) push.hidden = !told.draw;
    document.querySelectorAll("#bar input[type=range]").forEach((range, i) => {
      if (told.axes[i]) range.step = "0.05";
    });
    watch(["model", "sample", "element", "beyond", "dtype"], ask);
    ask();
  },
  error => tell(error.message),
);
