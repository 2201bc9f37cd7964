// The page put together. It stands while scripts run, so the first picture needs no further load.

restore();
drawHead();
watch(["model", "hidden", "theme"], drawVerdict);
drawVerdict();
drawBar();

const several = models[0].quantities.length > 1;
const quantities = choice(
  "value",
  "quantity",
  models[0].quantities.map(q => [q.name, q.label]),
);
const logs = toggle("log", "scale", "log", "linear");
const filters = [
  choice("keep", "keep", [
    ["all", "all samples"],
    ["worst", "the worst tenth"],
    ["best", "the best tenth"],
  ]),
  ...(page.labels
    ? [
        choice("class", "cls", [
          ["", "all"],
          ...[...new Set(page.labels)].sort((a, b) => a - b).map(c => [String(c), String(c)]),
        ]),
      ]
    : []),
  () => html("button", { type: "button", onclick: () => set({ brush: "", keep: "all", cls: "" }) }, "clear"),
];
const filtering = ["brush", "keep", "cls", "dtype"],
  measured = ["model", "quantity", "scale", "hidden"];

panel("orbit", "Along the orbit", {
  keys: [...filtering, ...measured, "sample", "element", "turn", "space", "answered", "dtype", "beyond", "heard"],
  draw: drawOrbit,
  caption: orbitCaption,
  rows: orbitRows,
  controls: [
    ...(several ? [quantities] : []),
    logs,
    ...(grid.vectors || (grid.cycles && grid.cayley)
      ? [
          choice("draw", "space", [
            ["ball", grid.vectors ? "axis-angle ball" : "cycles"],
            ...(grid.vectors ? [["sphere", "sphere of axes"]] : []),
            ...(grid.cayley ? [["graph", "Cayley graph"]] : []),
          ]),
        ]
      : []),
  ],
});
if (count >= 3)
  panel("samples", "Samples by their orbits", {
    keys: [...filtering, "model", "quantity", "scale", "sample", "color", "element"],
    needs: changed => state.color === "here" || [...changed].some(key => key !== "element"),
    draw: drawEmbedding,
    caption: embeddingCaption,
    rows: embeddingRows,
    controls: [
      choice("color", "color", [["mean", "mean"], ["here", "this element"], ...(page.labels ? [["class", "class"]] : [])]),
      ...filters,
    ],
  });
panel("response", "One sample, moved", {
  keys: ["model", "sample", "element", "turn", "quantity", "beyond", "heard", "dtype"],
  draw: drawResponse,
  caption: responseCaption,
  rows: responseRows,
  wide: true,
});
const laddered = models.some(model => model.audit.layers.length);
if (laddered)
  panel("ladder", "From which layer on", {
    keys: sent.live ? ["model", "sample", "element", "beyond", "dtype", "heard", "answered"] : ["model"],
    draw: drawLadder,
    caption: ladderCaption,
    rows: ladderRows,
  });
if (count >= 3)
  panel("worst", "Worst samples", {
    keys: [...filtering, "model", "quantity", "sample"],
    draw: drawWorst,
    rows: () => worstRows().map(({ place, ...told }) => told),
    caption: () =>
      "Samples that are kept, the worst first; a row leads to the sample at its worst element. Files hold all of them.",
  });
panel("breakdown", "What breaks", {
  keys: [...filtering, "model", "quantity"],
  draw: drawBreakdown,
  caption: breakdownCaption,
  rows: breakdownRows,
  wide: laddered || count < 3, // else it stands beside the worst samples
});
panel("models", models.length > 1 ? "Models side by side" : "The model in numbers", {
  keys: ["model", "hidden", "size"],
  controls:
    models.length > 1
      ? [
          choice("size of dots", "size", [
            ["memory", "memory of a call"],
            ["seconds", "time of a call"],
            ["parameters", "parameters"],
          ]),
        ]
      : [],
  draw: drawCompare,
  caption: compareCaption,
  rows: compareRows,
  wide: true,
});
if (page.data)
  panel("data", "The data's own symmetry", { keys: [], draw: drawData, caption: dataCaption, rows: dataRows, wide: true });

document.getElementById("foot").append(
  ...models.flatMap(model => model.audit.notes.map(note => html("p", {}, models.length > 1 ? `${model.name}: ${note}` : note))),
  html(
    "p",
    {},
    [
      `${page.contract.name} · ${count} samples × ${elements} elements, seed ${models[0].audit.seed}`,
      ...Object.entries(page.versions).map(([name, version]) => `${name} ${version}`),
    ].join(" · "),
  ),
);
let broad = document.getElementById("panels").clientWidth,
  resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => {
    const now = document.getElementById("panels").clientWidth;
    if (now !== broad) redraw();
    broad = now;
  }, 200);
});
addEventListener("hashchange", () => {
  if ((Number(new URLSearchParams(location.hash.slice(1)).get("part")) || 0) !== part) location.reload();
  restore();
  redraw();
  if (state.panel) document.getElementById(state.panel)?.scrollIntoView();
});
requestAnimationFrame(() =>
  setTimeout(() => {
    for (const draw of unseen) draw();
    if (state.panel) document.getElementById(state.panel)?.scrollIntoView();
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }),
);
