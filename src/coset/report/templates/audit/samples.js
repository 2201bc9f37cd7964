// Samples as points by their orbits, with a brush that filters every figure, and the worst of them in a table.

function drawEmbedding(body) {
  const points = embedding();
  if (!points) {
    body.replaceChildren(html("p", { class: "soft" }, "An overview needs at least three samples."));
    return;
  }
  const size = 440,
    edge = 26,
    xs = [],
    ys = [];
  for (let s = 0; s < count; s++) {
    const [x, y] = row(points, s).data;
    xs.push(x);
    ys.push(y);
  }
  const range = values => {
    const low = Math.min(...values),
      high = Math.max(...values),
      pad = 0.04 * (high - low || 1);
    return [low - pad, high + pad];
  };
  const [x0, x1] = range(xs),
    [y0, y1] = range(ys),
    px = x => edge + ((x - x0) / (x1 - x0)) * (size - 2 * edge),
    py = y => size - edge - ((y - y0) / (y1 - y0)) * (size - 2 * edge);
  const means = sampleMeans(state.model),
    values = state.color === "here" ? means.map((_, s) => individual(state.model, s)[state.element]) : means;
  const scale = spanOf(values),
    inside = new Set(selection());
  const node = canvasOf(size, size - 40, `${count} samples by their orbits`, {
    class: "brush",
    tabindex: 0,
    viewBox: `0 20 ${size} ${size - 40}`,
  });
  node.append(
    svg("rect", { x: edge - 12, y: edge - 2, width: size - 2 * edge + 24, height: size - 2 * edge + 4, class: "grid" }),
  );
  for (let s = 0; s < count; s++) {
    const share =
      state.color === "class" && page.labels ? page.labels[s] / Math.max(1, ...page.labels) : scale.share(values[s]);
    node.append(
      svg("circle", {
        cx: px(xs[s]).toFixed(1),
        cy: py(ys[s]).toFixed(1),
        r: 4.2,
        fill: ramp(share),
        stroke: css(dark() ? "--soft" : "--ground"),
        "stroke-width": 0.6,
        opacity: inside.has(s) ? 0.95 : 0.15,
      }),
    );
  }
  if (state.sample >= 0)
    node.append(
      svg("circle", {
        cx: px(xs[state.sample]),
        cy: py(ys[state.sample]),
        r: 8,
        fill: "none",
        stroke: css("--text"),
        "stroke-width": 2.2,
      }),
    );
  const box = svg("rect", { fill: css("--band"), stroke: css("--text"), "stroke-dasharray": "4 3" });
  const show = ([a, b, c, d]) =>
    put(box, { x: px(a), y: py(d), width: Math.max(0, px(c) - px(a)), height: Math.max(0, py(b) - py(d)) });
  if (state.brush) show(state.brush.split(",").map(Number));
  node.append(box);
  const at = event => {
    const frame = node.getBoundingClientRect(),
      k = size / frame.width;
    return [
      x0 + (((event.clientX - frame.x) * k - edge) / (size - 2 * edge)) * (x1 - x0),
      y0 + ((size - edge - (event.clientY - frame.y) * k - 20) / (size - 2 * edge)) * (y1 - y0),
    ];
  };
  const near = (x, y) => most(xs.map((v, s) => -Math.hypot(px(v) - px(x), py(ys[s]) - py(y))));
  node.addEventListener("pointerdown", event => {
    event.preventDefault();
    node.focus({ preventScroll: true });
    const from = at(event),
      rectangle = to => [
        Math.min(from[0], to[0]),
        Math.min(from[1], to[1]),
        Math.max(from[0], to[0]),
        Math.max(from[1], to[1]),
      ];
    const wide = to => Math.hypot(px(to[0]) - px(from[0]), py(to[1]) - py(from[1])) > 6;
    const drag = more => {
      if (wide(at(more))) show(rectangle(at(more)));
    };
    const stop = end => {
      removeEventListener("pointermove", drag);
      removeEventListener("pointerup", stop);
      const to = at(end);
      set(
        wide(to)
          ? {
              brush: rectangle(to)
                .map(v => v.toPrecision(6))
                .join(","),
            }
          : { brush: "", sample: near(...from) },
      );
    };
    addEventListener("pointermove", drag);
    addEventListener("pointerup", stop);
  });
  node.addEventListener("keydown", event => {
    const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.key === "Escape") set({ brush: "" });
    if (!ways) return;
    event.preventDefault();
    const here = Math.max(0, state.sample),
      ahead = s => {
        const dx = px(xs[s]) - px(xs[here]),
          dy = py(ys[here]) - py(ys[s]),
          along = dx * ways[0] + dy * ways[1];
        return along > 0.5 ? -(along + 2 * Math.abs(dx * ways[1] + dy * ways[0])) : -Infinity;
      };
    const next = most(xs.map((_, s) => (s === here ? -Infinity : ahead(s))));
    if (Number.isFinite(ahead(next))) set({ sample: next });
  });
  body.replaceChildren(
    node,
    state.color === "class"
      ? classLegend()
      : strip(scale, state.color === "here" ? `at ${named(state.element)}` : `mean over the orbit`),
  );
}

function classLegend() {
  const top = Math.max(1, ...page.labels);
  return html(
    "div",
    { class: "legend" },
    [...new Set(page.labels)]
      .sort((a, b) => a - b)
      .map(c =>
        html(
          "span",
          {},
          svg("svg", { width: 10, height: 10 }, svg("circle", { cx: 5, cy: 5, r: 4.5, fill: ramp(c / top) })),
          String(c),
        ),
      ),
  );
}

function embeddingCaption() {
  return `Each point is a sample, placed by its errors along the orbit (first two principal components, ${models[state.model].name}${heardTable(state.model) ? `, measured just now${inDtype()}` : ""}): neighbors break the symmetry alike. Drag a rectangle to keep its samples in every figure, click to choose one; arrow keys walk, Escape frees. ${selection().length} of ${count} samples are kept.`;
}
function embeddingRows() {
  const points = embedding(),
    means = sampleMeans(state.model);
  return points
    ? Array.from({ length: count }, (_, s) => ({
        sample: s,
        x: row(points, s).data[0],
        y: row(points, s).data[1],
        mean: means[s],
        ...(page.labels ? { class: page.labels[s] } : {}),
      }))
    : [];
}

// ------------------------------------------------------------------ the table

function worstRows() {
  const means = sampleMeans(state.model),
    values = table(state.model).data,
    higher = quantity(state.model).better === "higher",
    classes = decode(models[state.model].classes);
  return [...selection()]
    .sort((a, b) => (higher ? means[a] - means[b] : means[b] - means[a]))
    .map(s => {
      const mine = Array.from(values.subarray(s * elements, (s + 1) * elements)),
        k = most(higher ? mine.map(v => -v) : mine);
      return {
        sample: s,
        ...(page.labels ? { class: page.labels[s] } : {}),
        mean: means[s],
        worst: mine[k],
        element: grid.names[k],
        place: k,
        ...(classes ? { said: [...new Set(Array.from(row(classes, s).data))].join(" ") } : {}),
        shown: page.kept.includes(s),
      };
    });
}

function drawWorst(body) {
  const rows = worstRows().slice(0, 10),
    classes = rows.some(one => "class" in one),
    said = rows.some(one => "said" in one);
  const cells = one => [
    html("td", {}, `${one.sample}`),
    classes ? html("td", {}, `${one.class}`) : null,
    html("td", {}, short(one.mean, 3)),
    html("td", {}, short(one.worst, 3)),
    html("td", { title: one.element }, named(one.place)),
    said ? html("td", {}, one.said) : null,
  ];
  const pick = one => () => set({ sample: one.sample, element: one.place });
  body.replaceChildren(
    tableOf(
      "table of the worst samples",
      ["sample", classes && "class", "mean", "worst", "at", said && "answers"].filter(Boolean),
      rows.map(one =>
        html(
          "tr",
          {
            tabindex: 0,
            "aria-selected": one.sample === state.sample,
            onclick: pick(one),
            onkeydown: event => {
              if (event.key === "Enter" || event.key === " ") {
                event.preventDefault();
                pick(one)();
              }
            },
          },
          cells(one),
        ),
      ),
    ),
  );
}
