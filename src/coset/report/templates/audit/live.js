// The live page: asks the server for what is chosen, wherever a slider stands. One question at a time, the newest next.

const client = Array.from(crypto.getRandomValues(new Uint8Array(12)), v => v.toString(16).padStart(2, "0")).join("");
const status = html("span", { id: "live" }, "asking the server");
let opened = null, // what can be asked here
  turns = 0,
  busy = false,
  wanted = false,
  timer = 0;

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

// Soon, so that a quick drag asks once; and never while a question is open.
function ask() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (busy) wanted = true;
    else question();
  }, 15);
}

async function question() {
  const model = opened.models[state.model],
    now = place();
  if (!model.live) {
    tell(`${model.name}: ${model.why}`);
    return;
  }
  if (heard?.place === now) return;
  busy = true;
  wanted = false;
  const begun = performance.now(),
    where = drawn() ? { draw: Number(state.beyond.slice(5)) } : { at: positions() };
  const whole = state.sample >= 0 && keptPlace(state.sample) < 0;
  try {
    const answer = await post("at", { model: state.model, sample: state.sample, ...where, whole, client, turn: ++turns });
    hear({ ...answer, error: number(answer.error), place: now });
    tell(`live, ${Math.round(performance.now() - begun)} ms`, false);
  } catch (error) {
    if (error.kind !== "superseded") tell(error.kind ? error.message : "the server does not answer");
    if (error.kind === "busy") setTimeout(ask, 1000);
  }
  busy = false;
  if (wanted) question();
}

function hear(answer) {
  heard = answer;
  waiting.add("heard");
  if (!frame) frame = requestAnimationFrame(flush);
}
// Failures are spoken as well; what every drag says is not.
function tell(text, aloud = true) {
  status.textContent = text;
  if (aloud) say(text);
}

const draw = html(
  "button",
  {
    type: "button",
    onclick: () => set({ element: state.element, beyond: `draw:${crypto.getRandomValues(new Uint32Array(1))[0] % 1e9}` }),
  },
  "random element",
);
draw.hidden = true;
document.getElementById("bar").append(html("div", { class: "live" }, draw, status));
post("open", {}).then(
  told => {
    opened = told;
    draw.hidden = !told.draw;
    document.querySelectorAll("#bar input[type=range]").forEach((range, i) => {
      if (told.axes[i]) range.step = "0.05";
    });
    watch(["model", "sample", "element", "beyond"], ask);
    ask();
  },
  error => tell(error.message),
);
