// One sample under one element: x, g x, f(g x), g f(x) and their difference. The page moves x and f(x) by itself.

const keptPlace = s => page.kept.indexOf(s);

// The sample's inputs, or those moved by element k; as the server has moved them where there is one.
function inputsOf(s, k = null) {
  const place = keptPlace(s),
    now = present(),
    out = {};
  if (now && (k !== null || place < 0)) return told(k === null ? now.x : now.gx);
  for (const field of page.inputs) {
    const x = wide(decode(field.values[place])),
      start = page.starts?.[s]?.[field.target || field.index[0]] ?? 0;
    out[field.name] =
      k === null
        ? isOrigin(field)
          ? moveField(field, place, grid.identity, x, start)
          : x
        : moveField(field, place, k, x, start);
  }
  return out;
}
const told = arrays => Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, wide(decode(array))]));
// Where the identity itself resamples, the model sees e x.
const isOrigin = field => grid.identity >= 0 && field.steps?.some(step => step.type === "image" && (step.size || step.disc));

function moveField(field, place, k, x, start) {
  if (field.steps) return move(field.steps, k, x, start);
  return field.moved ? wide(row(decode(field.moved[place]), k)) : null;
}

// f(g x), g f(x) and the residual of one output.
function answer(m, s, k, output) {
  const place = keptPlace(s),
    now = present();
  if (now) {
    const [got, want] = [now.got, now.want].map(one => told(one)[output.name]);
    return { got, want, residual: tensor(got.shape, got.data.map((v, i) => v - want.data[i])) };
  }
  const kept = models[m].outputs[output.name],
    start = page.starts?.[s]?.[output.target || output.index[0]] ?? 0;
  const residual = wide(row(decode(kept.residual[place]), k));
  if (!output.steps) return { residual };
  const want = move(output.steps, k, wide(decode(kept.plain[place])), start);
  return { residual, want, got: plus(want, residual) };
}

function drawResponse(body) {
  const s = state.sample,
    k = state.element,
    m = state.model;
  if (pending() && body.childElementCount) return; // what is drawn stands until the answer comes
  if (s < 0 || pending() || (!present() && keptPlace(s) < 0)) {
    body.replaceChildren(
      html(
        "p",
        {},
        s < 0
          ? "Choose a sample: above, in the overview, or in the table."
          : sent.live
            ? "The model is asked."
            : `Sample ${s} travels with its numbers only. Samples kept whole: `,
        ...(s < 0 || sent.live
          ? []
          : page.kept
              .slice(0, 24)
              .map(kept => html("button", { type: "button", onclick: () => set({ sample: kept }) }, String(kept)))),
      ),
    );
    return;
  }
  const x = inputsOf(s),
    gx = inputsOf(s, k),
    range = extent(page.inputs.filter(f => f.draw === "image" || f.draw === "sequence").map(f => x[f.name])),
    reach = Math.max(reachOf(x), reachOf(gx)) || undefined;
  const edge = innerWidth < 700 ? 140 : 190,
    nodes = Math.max(0, ...page.inputs.filter(f => !f.target && f.draw !== "image").map(f => x[f.name]?.shape[0] ?? 0)),
    options = { range, reach, nodes, size: edge };
  const missing = page.inputs.some(field => !gx[field.name]),
    points = page.inputs.find(field => field.draw === "points");
  const inputs = [
    ...scenes(page.inputs, x, { ...options, note: `x${page.labels ? `, class ${page.labels[s]}` : ""}` }),
    ...(missing
      ? [html("p", { class: "soft" }, "This action is not one that the page can carry out.")]
      : scenes(page.inputs, gx, { ...options, note: `g x, ${present()?.name ?? named(k)}` })),
  ];
  const rows = page.outputs.map(output => {
    const { got, want, residual } = answer(m, s, k, output),
      top = largest([residual]),
      shared = { size: edge, reach, title: output.name || "output" };
    // forces are drawn on the moved molecule
    const under =
      points && gx[points.name] && output.index.join() === points.index.join()
        ? page.inputs.filter(field => ["points", "labels", "edges"].includes(field.draw))
        : [];
    // an output without a name stands beside an input without one
    const own = under.some(field => field.name === output.name) ? { ...output, name: "the output" } : output;
    const show = (value, more) =>
      scenes(
        [...under, own],
        { ...Object.fromEntries(under.map(field => [field.name, gx[field.name]])), [own.name]: value },
        { ...shared, ...more },
      );
    const both = got
      ? { range: extent([got, want]), vectorReach: 1.2 * largest([got, want]), longest: longest([got, want]) }
      : {};
    return [
      ...(got
        ? [
            ...show(got, { ...both, note: `f(g x)${saying(got, output)}` }),
            ...show(want, { ...both, note: `g f(x)${saying(want, output)}` }),
          ]
        : []),
      ...show(residual, {
        ...both,
        longest: undefined,
        vectorReach: 1.2 * top,
        signed: top,
        note: `difference, up to ${short(top)}`,
      }),
    ];
  });
  const flat = page.outputs.every(output => output.draw === "numbers" || output.draw === "image") && rows.length === 1;
  body.replaceChildren(
    ...(flat ? [[...inputs, ...rows[0]]] : [inputs, ...rows]).map(parts => html("div", { class: "row" }, parts)),
    others(s, k),
  );
}

// Arrows of f(g x) and g f(x) share a length; those of the difference have their own.
function longest(tensors) {
  return Math.max(...tensors.flatMap(x => cloud(x).map(v => Math.hypot(...v))), 1e-300);
}

const saying = (value, output) =>
  output.steps && !output.steps.length && value.data.length > 1 && value.data.length <= 1000 && output.draw === "numbers"
    ? `, says ${most(Array.from(value.data))}`
    : "";

function reachOf(x) {
  const field = page.inputs.find(one => one.draw === "points");
  if (!field || !x[field.name]) return 0;
  return Math.max(1e-9, ...cloud(x[field.name]).map(p => Math.hypot(...p)));
}

// The other models at the same place.
function others(s, k) {
  if (models.length < 2 || state.beyond || state.dtype) return "";
  return html(
    "p",
    { class: "soft" },
    `At this place: ${models.map((model, m) => `${model.name} ${short(individual(m, s)[k], 3)}`).join(" · ")}`,
  );
}

function responseCaption() {
  const s = state.sample,
    now = present(),
    value = now?.error ?? (s >= 0 ? individual(state.model, s)[state.element] : 0),
    floor = now?.floor ?? floors()[state.element];
  const words =
    s < 0 || pending()
      ? ""
      : ` For ${models[state.model].name} at ${now?.name ?? grid.names[state.element]} the ${now ? "relative error" : "value"} is ${short(value, 3)}${floor > 0 && (now || state.quantity === "error") ? `, the action's own floor ${short(floor)}` : ""}.`;
  return `The sample, the sample moved by g, and what the model makes of both: were it symmetric, f(g x) and g f(x) would be equal and the difference zero. ${now ? `All of it was computed just now${inDtype()}.` : "The page moves x itself, by the formula of the library; outputs are those of the audit."}${words}`;
}
function responseRows() {
  const s = state.sample;
  if (s < 0 || pending() || (!present() && keptPlace(s) < 0)) return [];
  return page.outputs.flatMap(output => {
    const { got, want, residual } = answer(state.model, s, state.element, output);
    return Array.from(residual.data, (v, i) => ({
      sample: s,
      element: present()?.name ?? grid.names[state.element],
      output: output.name || "output",
      entry: i,
      f_gx: got?.data[i] ?? "",
      g_fx: want?.data[i] ?? "",
      difference: v,
    }));
  });
}
