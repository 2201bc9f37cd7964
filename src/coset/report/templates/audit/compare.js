// Models side by side: task error against symmetry error, with cost; and whether the data have the symmetry at all.

function axes() {
  const names = [...new Set(models.flatMap(model => Object.keys(model.metrics)))];
  const own = ["upright error, %", "orbit error, %"].filter(name => names.includes(name));
  return [...own, ...names.filter(name => !own.includes(name)), "ms per sample"];
}
const metric = (m, name) =>
  name === "ms per sample" ? 1000 * number(models[m].seconds) : number(models[m].metrics[name] ?? NaN);

function pareto() {
  const name = axes()[0],
    points = models
      .map((model, m) => ({ m, x: Math.max(number(model.audit.error), TINY), y: metric(m, name) }))
      .filter(p => Number.isFinite(p.y));
  if (!points.length) return null;
  const width = fitting(520),
    height = Math.max(250, 0.63 * width),
    left = 58,
    bottom = 46,
    xs = points.map(p => Math.log10(p.x)),
    low = Math.floor(Math.min(...xs) - 0.2),
    high = Math.max(Math.ceil(Math.max(...xs) + 0.05), low + 1),
    above = Math.max(...points.map(p => p.y)) * 1.08 || 1,
    ticks = tidy(name.endsWith("%") ? Math.min(100, above) : above),
    top = ticks[ticks.length - 1];
  const x = v => left + ((Math.log10(v) - low) / (high - low)) * (width - left - 24),
    y = v => 14 + (1 - v / top) * (height - bottom - 14),
    sizes = models.map(model => number(model[state.size]) || 0),
    biggest = Math.max(...sizes) || 1;
  const node = canvasOf(width, height, `${name} against symmetry error`),
    every = Math.max(1, Math.ceil((high - low) / 7));
  for (let e = low; e <= high; e += every)
    node.append(
      svg("line", { x1: x(10 ** e), x2: x(10 ** e), y1: 14, y2: height - bottom, class: "grid" }),
      svg(
        "text",
        { x: x(10 ** e), y: height - bottom + 16, "text-anchor": "middle", class: "small" },
        e === 0 ? "1" : `1e${e}`,
      ),
    );
  for (const tick of ticks)
    node.append(
      svg("line", { x1: left, x2: width - 24, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end", class: "small" }, short(tick)),
    );
  const front = [...points].sort((a, b) => a.x - b.x || a.y - b.y).filter((p, i, all) => all.slice(0, i).every(q => q.y > p.y));
  if (front.length > 1)
    node.append(
      svg("path", {
        d: front.map((p, i) => `${i ? "L" : "M"}${x(p.x)} ${y(p.y)}`).join(""),
        fill: "none",
        stroke: css("--soft"),
        "stroke-dasharray": "4 4",
      }),
    );
  for (const { m, x: error, y: value } of points) {
    const r = 6 + 8 * Math.sqrt(sizes[m] / biggest),
      right = x(error) > width * 0.7;
    node.append(
      svg(
        "circle",
        {
          cx: x(error),
          cy: y(value),
          r,
          fill: modelColor(m),
          "fill-opacity": 0.75,
          stroke: m === state.model ? css("--text") : css("--ground"),
          "stroke-width": 2,
        },
        svg("title", {}, models[m].name),
      ),
      svg(
        "text",
        { x: x(error) + (right ? -r - 5 : r + 5), y: y(value) + 4, "text-anchor": right ? "end" : "start", class: "strong" },
        models[m].name,
      ),
    );
  }
  node.append(
    svg("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle" }, "relative equivariance error"),
    svg("text", { x: 14, y: height / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${height / 2})` }, name),
  );
  return node;
}

function compareRows() {
  return models.map((model, m) => ({
    model: model.name,
    verdict: model.audit.verdict,
    error: number(model.audit.error),
    low: number(model.audit.interval[0]),
    high: number(model.audit.interval[1]),
    ...Object.fromEntries(axes().map(name => [name, metric(m, name)])),
    "memory, MB": (model.memory ?? NaN) / 2 ** 20,
    parameters: model.parameters,
    first_offender: model.audit.offender,
  }));
}
function drawCompare(body) {
  const rows = compareRows(),
    names = Object.keys(rows[0]).filter(name => name !== "low" && name !== "high");
  const cell = (one, name) =>
    name === "error"
      ? `${short(one.error)} [${short(one.low)}, ${short(one.high)}]`
      : typeof one[name] === "number"
        ? short(one[name], 3)
        : one[name] || "–";
  const hidden = new Set(state.hidden.split(",").filter(Boolean).map(Number));
  const box = m =>
    html("input", {
      type: "checkbox",
      "aria-label": `show ${models[m].name} in the figures`,
      onchange: event => {
        if (event.target.checked) hidden.delete(m);
        else hidden.add(m);
        set({ hidden: [...hidden].sort().join(",") });
      },
    });
  const list = tableOf(
    "table of the models",
    names.map(name => name.replaceAll("_", " ")),
    rows.map((one, m) =>
      html(
        "tr",
        {},
        names.map((name, i) => {
          const check = i ? null : box(m);
          if (check) check.checked = !hidden.has(m);
          return html("td", {}, check, check ? " " : null, cell(one, name));
        }),
      ),
    ),
  );
  body.replaceChildren(html("div", { class: "beside" }, models.length > 1 ? (pareto() ?? "") : "", list));
}
const compareCaption = () =>
  `${models.length > 1 ? `Left and low is better; the dashed line joins the models that no other beats in both. A larger dot ${{ memory: "needs more memory", seconds: "takes longer", parameters: "has more parameters" }[state.size]}. ` : ""}All models saw the same samples and elements. A model can be exactly symmetric and useless, or accurate on upright data and asymmetric.`;

// ------------------------------------------------------------------ the data

function dataWords() {
  const inputs = page.data?.inputs,
    labels = page.data?.labels,
    out = [];
  if (inputs)
    out.push(
      number(inputs.p_value) < 0.001
        ? `The inputs themselves are not symmetric (p = ${short(inputs.p_value)}): moved samples can be told from those in the data.`
        : `Nothing tells moved samples from those in the data (p = ${short(inputs.p_value)}): the inputs may well be symmetric.`,
    );
  if (labels) {
    const refuted = number(labels.p_value) < 0.001;
    out.push(
      refuted
        ? `Labels do not follow the symmetry (excess ${percent(number(labels.excess))}, p = ${short(labels.p_value)}): imposing it would cost accuracy.`
        : labels.decisive
          ? `Labels follow the symmetry where data lie (excess ${percent(number(labels.excess))}): imposing it is justified.`
          : `What the data say about labels is not decisive: only ${percent(number(labels.supported))} of the moved samples lie where data are.`,
    );
  }
  return out.concat(page.data?.notes ?? []);
}
function drawData(body) {
  const inputs = page.data.inputs,
    labels = page.data.labels;
  const lines = [
    ...(inputs ? [["inputs: p-value", inputs.p_value]] : []),
    ...(labels
      ? [
          ["labels: excess error", labels.excess],
          ["labels: standard error", labels.error],
          ["labels: share at untransformed points", labels.own],
          ["labels: p-value", labels.p_value],
          ["labels: moved samples where data lie", labels.supported],
        ]
      : []),
  ];
  body.replaceChildren(
    html(
      "div",
      { class: "beside" },
      html(
        "div",
        {},
        dataWords().map(text => html("p", {}, text)),
      ),
      lines.length
        ? html(
            "table",
            {},
            html(
              "tbody",
              {},
              lines.map(([name, value]) => html("tr", {}, html("td", {}, name), html("td", {}, short(value, 3)))),
            ),
          )
        : "",
    ),
  );
}
const dataCaption = () =>
  "Whether the symmetry should be imposed at all is a question to the data, not to the model: a permutation test compares samples with moved samples, a regression compares labels along the orbit.";
const dataRows = () =>
  Object.entries({
    ...(page.data?.inputs ? { inputs: page.data.inputs } : {}),
    ...(page.data?.labels ? { labels: page.data.labels } : {}),
  }).flatMap(([test, values]) => Object.entries(values).map(([name, value]) => ({ test, name, value })));
