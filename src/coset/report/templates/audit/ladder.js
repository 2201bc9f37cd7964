// Where the symmetry breaks: the ladder of layers, and the error by direction, by part of the output, by class, over samples.

// The layers as a live model has told them for what is chosen, else those of the audit.
const rungs = () => found(heardLadder()) ?? models[state.model].audit;

function drawLadder(body) {
  const audit = rungs(),
    layers = audit.layers;
  if (!layers.length) {
    body.replaceChildren(html("p", { class: "soft" }, "Layers are measured in torch modules only."));
    return;
  }
  const errors = layer => Object.entries(layer.errors ?? { [audit.dtype]: layer.error }).map(([name, v]) => [name, number(v)]);
  const all = layers
    .flatMap(layer => errors(layer).map(([, v]) => v))
    .concat(number(audit.tolerance))
    .filter(v => v > 0 && Number.isFinite(v));
  const high = Math.ceil(Math.log10(Math.max(...all, 1e-15))),
    low = Math.min(high - 2, Math.floor(Math.log10(Math.max(1e-18, Math.min(...all)))));
  const width = fitting(520),
    longest = Math.min(0.37 * width, 20 + 7.2 * Math.max(...layers.map(layer => layer.name.length))),
    line = 22,
    height = layers.length * line + 46,
    x = v => longest + ((Math.log10(Math.max(v, 10 ** low)) - low) / (high - low)) * (width - longest - 20);
  const node = canvasOf(width, height, "error of every layer");
  const every = Math.max(1, Math.ceil((high - low) / 6));
  for (let e = low; e <= high; e += every)
    node.append(
      svg("line", { x1: x(10 ** e), x2: x(10 ** e), y1: 4, y2: height - 40, class: "grid" }),
      svg("text", { x: x(10 ** e), y: height - 24, "text-anchor": "middle", class: "small" }, e === 0 ? "1" : `1e${e}`),
    );
  node.append(
    svg("text", { x: (longest + width) / 2, y: height - 6, "text-anchor": "middle" }, "relative error"),
    svg(
      "line",
      {
        x1: x(number(audit.tolerance)),
        x2: x(number(audit.tolerance)),
        y1: 4,
        y2: height - 40,
        stroke: css("--pass"),
        "stroke-dasharray": "5 3",
      },
      svg("title", {}, `tolerance ${short(audit.tolerance)}`),
    ),
  );
  layers.forEach((layer, i) => {
    const y = 16 + i * line,
      first = layer.name === audit.offender,
      name = layer.name.length * 7.2 > longest - 12 ? `…${layer.name.slice(-Math.floor(longest / 7.6))}` : layer.name;
    if (first) node.append(svg("rect", { x: 0, y: y - 11, width, height: line, fill: css("--band") }));
    node.append(
      svg(
        "text",
        {
          x: longest - 10,
          y: y + 4,
          "text-anchor": "end",
          class: first ? "strong" : "",
          style: first ? "font-weight:650" : "",
        },
        name,
        svg("title", {}, `${layer.name}: ${layer.field}${layer.guessed ? " (guessed)" : ""}`),
      ),
    );
    if (number(layer.floor) > 0)
      node.append(
        svg(
          "rect",
          { x: x(10 ** low), y: y - 3, width: x(number(layer.floor)) - x(10 ** low), height: 6, fill: css("--band") },
          svg("title", {}, `floor ${short(layer.floor)}`),
        ),
      );
    errors(layer).forEach(([name, v], n) =>
      node.append(
        svg(
          "circle",
          {
            cx: x(v),
            cy: y,
            r: n ? 5.5 : 4,
            fill: n ? "none" : modelColor(state.model),
            stroke: modelColor(state.model),
            "stroke-width": 1.8,
          },
          svg("title", {}, `${layer.name} in ${name}: ${short(v, 3)}`),
        ),
      ),
    );
  });
  const first = layers.find(layer => layer.name === audit.offender),
    dtypes = Object.keys(layers[0].errors ?? { [audit.dtype]: 0 });
  body.replaceChildren(
    node,
    html(
      "div",
      { class: "legend" },
      dtypes.map((name, n) => html("span", {}, `${n ? "○" : "●"} ${name}`)),
      html("span", {}, "┆ tolerance"),
    ),
    first
      ? html(
          "p",
          { class: "cause" },
          html("b", {}, `${first.name} `),
          `is the first above the floor, ${short(first.error)}${first.cause ? `: ${first.cause}` : ""}. Its output was read as ${first.field}${first.guessed ? ", a guess from its shape" : ""}.`,
        )
      : "",
  );
}
function ladderCaption() {
  const now = found(heardLadder()),
    why = heardLadder()?.failed,
    about = !now
      ? why
        ? ` Here is what the audit measured; now: ${why}.`
        : ""
      : ` Measured just now at ${present()?.name ?? named(state.element)}, ${now.alone ? `sample ${state.sample}` : "all samples together"}; the first offender is that in ${now.dtype}.`;
  return `Relative error of every layer's output in the order of the forward pass, on a logarithmic axis. An error that is the same in both precisions is a broken symmetry; one that drops with the precision is rounding.${about}`;
}
const ladderRows = () =>
  rungs().layers.map(layer => ({
    layer: layer.name,
    error: layer.error,
    ...(layer.errors ?? {}),
    floor: layer.floor,
    as: layer.field,
    guessed: layer.guessed,
    cause: layer.cause,
  }));

// ------------------------------------------------------------------ breakdown

function barchart(title, entries, note = "") {
  if (!entries.length) return null;
  const shownEntries = entries.slice(0, 16),
    longest = Math.min(210, 16 + 6.6 * Math.max(...shownEntries.map(([name]) => name.length))),
    width = 320,
    line = 20,
    top = Math.max(...shownEntries.map(([, v]) => (Number.isFinite(v) ? v : 0)), 1e-300);
  const node = canvasOf(width, shownEntries.length * line + 6, title);
  shownEntries.forEach(([name, v], i) => {
    const y = 4 + i * line,
      room = Math.floor(longest / 6.6) - 1,
      length = Math.max(1, (v / top) * (width - longest - 62));
    node.append(
      svg(
        "text",
        { x: longest - 8, y: y + 12, "text-anchor": "end", class: "small" },
        name.length > room ? `${name.slice(0, room)}…` : name,
        svg("title", {}, name),
      ),
      svg("rect", { x: longest, y: y + 2, width: length, height: line - 7, fill: modelColor(state.model) }),
      svg("text", { x: longest + length + 5, y: y + 12, class: "small strong" }, short(v)),
    );
  });
  return card(title, note, node);
}

function histogram() {
  const means = sampleMeans(state.model),
    values = selection()
      .map(s => means[s])
      .filter(Number.isFinite);
  if (values.length < 3) return null;
  const width = 320,
    height = 150,
    low = Math.min(...values),
    high = Math.max(...values),
    bins = Math.min(24, Math.max(6, Math.round(Math.sqrt(values.length) * 1.5))),
    counts = new Array(bins).fill(0);
  for (const v of values) counts[Math.min(bins - 1, Math.floor(((v - low) / (high - low || 1)) * bins))]++;
  const node = canvasOf(width, height, "histogram over samples"),
    top = Math.max(...counts),
    step = (width - 40) / bins;
  counts.forEach((n, i) =>
    node.append(
      svg(
        "rect",
        {
          x: 32 + i * step,
          y: 8 + (1 - n / top) * (height - 40),
          width: Math.max(1, step - 1.5),
          height: (n / top) * (height - 40),
          fill: modelColor(state.model),
        },
        svg("title", {}, `${n} samples from ${short(low + (i / bins) * (high - low))}`),
      ),
    ),
  );
  node.append(
    svg("line", { x1: 32, x2: width - 8, y1: height - 32, y2: height - 32, class: "axisline" }),
    svg("text", { x: 32, y: height - 16, class: "small" }, short(low, 3)),
    svg("text", { x: width - 8, y: height - 16, "text-anchor": "end", class: "small" }, short(high, 3)),
    svg("text", { x: 28, y: 16, "text-anchor": "end", class: "small" }, String(top)),
    svg("text", { x: width / 2, y: height - 3, "text-anchor": "middle", class: "small" }, "mean over the orbit"),
  );
  return card("Over samples", "", node);
}

function byClass() {
  if (!page.labels) return [];
  const means = sampleMeans(state.model),
    sums = new Map();
  for (const s of selection()) {
    const [sum, n] = sums.get(page.labels[s]) ?? [0, 0];
    sums.set(page.labels[s], [sum + means[s], n + 1]);
  }
  return [...sums].sort((a, b) => a[0] - b[0]).map(([c, [sum, n]]) => [`class ${c}`, sum / n]);
}
const generatorBars = () => models[state.model].audit.generators.map(one => [one.element, number(one.error)]);
const outputBars = () => (heardTable(state.model) ?? models[state.model]).by_output.map(one => [one.name, number(one.error)]);

function drawBreakdown(body) {
  const charts = [
    barchart("By generator", generatorBars()),
    barchart("By part of the output", outputBars()),
    barchart("By class", byClass()),
    histogram(),
  ].filter(Boolean);
  body.replaceChildren(html("div", { class: "thirds" }, charts));
}
const breakdownCaption = () =>
  "Which direction of the group breaks, which part of the output, which class. Directions of a Lie algebra are steps of 0.3; parts of the output are compared over all samples, by the root of summed squares.";
const breakdownRows = () =>
  [
    ["generator", generatorBars()],
    ["output", outputBars()],
    ["class", byClass()],
  ].flatMap(([kind, bars]) => bars.map(([name, error]) => ({ kind, name, error })));
