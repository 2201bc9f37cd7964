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
const filtering = ["brush", "keep", "cls"],
  measured = ["model", "quantity", "scale", "hidden"];

panel("orbit", "Along the orbit", {
  keys: [...filtering, ...measured, "sample", "element", "turn", "space"],
  draw: drawOrbit,
  caption: orbitCaption,
  rows: orbitRows,
  controls: [
    ...(several ? [quantities] : []),
    logs,
    ...(grid.vectors
      ? [
          choice("draw", "space", [
            ["ball", "axis-angle ball"],
            ["sphere", "sphere of axes"],
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
  keys: ["model", "sample", "element", "turn", "quantity", "beyond", "heard"],
  draw: drawResponse,
  caption: responseCaption,
  rows: responseRows,
  wide: true,
});
if (models.some(model => model.audit.layers.length))
  panel("ladder", "From which layer on", { keys: ["model"], draw: drawLadder, caption: ladderCaption, rows: ladderRows });
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
  wide: true,
});
panel("models", models.length > 1 ? "Models side by side" : "The model in numbers", {
  keys: ["model", "hidden"],
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
    `${page.contract.name} · ${count} samples × ${elements} elements, seed ${models[0].audit.seed} · `,
    Object.entries(page.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(" · "),
  ),
);
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
