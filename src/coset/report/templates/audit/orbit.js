// The orbit plot: the error as a function on the group, drawn as the group is.

const kinds = grid.axes.map(axis => axis.kind);
const marked = k => floors()[k] === 0;
const someFloor = () => floors().some(v => v > 0);

// All curves in one place: per model the mean of the chosen samples, and the chosen sample of the active model.
function curves() {
  const lines = shown().map(m => ({
    m,
    name: models[m].name,
    values: aggregate(m),
    faint: state.sample >= 0 && m === state.model,
  }));
  if (state.sample >= 0) lines.push({ m: state.model, own: true, ...ownLine() });
  return lines;
}

// The chosen sample's orbit: as recorded, or as a live model has told it, between the elements of the grid too.
function ownLine() {
  const name = `${models[state.model].name}, sample ${state.sample}`,
    now = state.quantity === "error" ? heardOrbit() : null;
  if (!now) return { name, values: individual(state.model, state.sample) };
  const errors = decode(now.errors).data,
    at = new Map(now.places.map((place, i) => [place, i]));
  return {
    name: `${name}, now${inDtype()}`,
    values: at.size ? Float64Array.from({ length: elements }, (_, k) => errors[at.get(k)]) : errors,
    fine: at.size ? now.places.map((place, i) => [coordinate(place), errors[i]]) : null,
  };
}

// The coordinate at a position on the grid's only axis; between factors of scale by their logarithms.
function coordinate(at) {
  const xs = grid.axes[0].coordinates,
    low = Math.floor(at),
    share = at - low;
  if (!share) return xs[low];
  return kinds[0] === "scale" ? xs[low] ** (1 - share) * xs[low + 1] ** share : xs[low] + share * (xs[low + 1] - xs[low]);
}

// Where the slider stands on the only axis, and the last line's value there.
function hand(line) {
  const off = state.beyond && !drawn(),
    now = present();
  return [
    coordinate(off ? positions()[0] : state.element),
    off && now && line?.own && state.quantity === "error" ? now.error : line ? line.values[state.element] : 0,
  ];
}

// Whether a finite group is drawn as its graph: always where there is no picture in space or of cycles.
const graphed = () => grid.cayley && (state.space === "graph" || !(grid.vectors || grid.cycles));

function drawOrbit(body) {
  const lines = curves(),
    scale = scaleOf(
      [...lines.flatMap(line => [...line.values]), ...(state.quantity === "error" ? floors() : [])],
      quantity(0).better,
      quantity(0).limit,
    );
  const draw = graphed()
    ? cayley
    : grid.vectors
    ? ball
    : kinds.length === 1 && kinds[0] === "angle"
      ? polar
      : kinds.length === 1 && kinds[0] === "scale"
        ? lineplot
        : kinds.length === 2 && !kinds.includes("element")
          ? maps
          : grid.cycles
            ? cycles
            : tiles;
  body.replaceChildren(draw(lines, scale), legend(lines));
}

function legend(lines) {
  const marks =
    someFloor() && state.quantity === "error"
      ? [
          html(
            "span",
            {},
            svg("svg", { width: 22, height: 10 }, svg("rect", { width: 22, height: 10, fill: css("--band") })),
            "interpolation floor",
          ),
          html(
            "span",
            {},
            svg("svg", { width: 10, height: 10 }, svg("rect", { x: 1, y: 1, width: 8, height: 8, fill: css("--mark") })),
            "element that keeps the grid",
          ),
        ]
      : [];
  const drawn = (kinds.length === 1 && ["angle", "scale"].includes(kinds[0])) || (grid.cycles && !graphed()) ? lines : [];
  return html(
    "div",
    { class: "legend" },
    drawn.map(line => html("span", {}, swatch(line.m), line.name + (line.own ? "" : ` (mean of ${selection().length})`))),
    marks,
  );
}

// Pointer and keys choose an element; `nearest` maps a point of the drawing to one.
function choosing(node, nearest) {
  node.addEventListener("pointerdown", event => {
    // every choice draws anew, so a drag goes on against the place where it began
    const box = node.getBoundingClientRect(),
      view = node.viewBox.baseVal,
      take = at => {
        const k = nearest(((at.clientX - box.x) * view.width) / box.width, ((at.clientY - box.y) * view.height) / box.height);
        if (k !== null) set({ element: k });
      };
    const stop = () => {
      removeEventListener("pointermove", take);
      removeEventListener("pointerup", stop);
      removeEventListener("pointercancel", stop);
    };
    addEventListener("pointermove", take);
    addEventListener("pointerup", stop);
    addEventListener("pointercancel", stop);
    take(event);
  });
  node.addEventListener("keydown", event => {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (by) {
      event.preventDefault();
      set({ element: modulo(state.element + by, elements) });
    }
  });
  return put(node, {
    tabindex: 0,
    class: "pick",
    role: "slider",
    "aria-valuemin": 0,
    "aria-valuemax": elements - 1,
    "aria-valuenow": state.element,
    "aria-valuetext": `${grid.names[state.element]}`,
  });
}

// ------------------------------------------------------------------ circles

function polar(lines, scale) {
  const size = 440,
    middle = size / 2,
    radius = 164,
    order = grid.axes[0].coordinates
      .map((a, k) => [a, k])
      .sort((a, b) => a[0] - b[0])
      .map(([, k]) => k);
  const radians = degrees => (degrees * Math.PI) / 180,
    angle = k => radians(grid.axes[0].coordinates[k]),
    closed = grid.cyclic || elements > 2;
  const around = (a, share) => [middle + radius * share * Math.cos(a), middle - radius * share * Math.sin(a)],
    point = (k, share) => around(angle(k), share);
  const ring = pairs =>
    pairs
      .map(
        ([degrees, value], i) =>
          `${i ? "L" : "M"}${around(radians(degrees), scale.share(value))
            .map(v => v.toFixed(1))
            .join(" ")}`,
      )
      .join("") + (closed ? "Z" : "");
  const path = values => ring(order.map(k => [grid.axes[0].coordinates[k], values(k)]));
  const node = canvasOf(size, size, `${quantity(0).label} around the circle`),
    few = elements <= 12;
  for (const tick of scale.ticks)
    if (scale.share(tick) > 0)
      node.append(svg("circle", { cx: middle, cy: middle, r: radius * scale.share(tick), class: "grid" }));
  for (let a = 0; a < 360; a += 45) {
    const [c, s] = [Math.cos((a * Math.PI) / 180), -Math.sin((a * Math.PI) / 180)];
    node.append(
      svg("line", { x1: middle, y1: middle, x2: middle + radius * c, y2: middle + radius * s, class: "grid" }),
      svg("text", { x: middle + (radius + 28) * c, y: middle + (radius + 26) * s + 4, "text-anchor": "middle" }, `${a}°`),
    );
  }
  if (state.quantity === "error" && someFloor()) {
    // between few elements there is nothing to fill: one bar each
    const spokes = order
      .map(
        k =>
          `M${middle} ${middle}L${point(k, scale.share(floors()[k]))
            .map(v => v.toFixed(1))
            .join(" ")}`,
      )
      .join("");
    node.append(
      svg(
        "path",
        few
          ? { d: spokes, stroke: css("--band"), "stroke-width": 14 }
          : { d: path(k => floors()[k]), fill: css("--band"), stroke: "none" },
        svg("title", {}, "interpolation floor"),
      ),
    );
  }
  for (const line of lines) {
    const color = modelColor(line.m),
      values = line.values,
      whole = line.fine ? ring(line.fine) : path(k => values[k]);
    if (few) {
      node.append(svg("path", { d: whole, fill: "none", stroke: color, "stroke-width": 1, opacity: 0.5 }));
      order.forEach(k => {
        const [x, y] = point(k, scale.share(values[k]));
        node.append(
          svg("circle", {
            cx: x,
            cy: y,
            r: line.own ? 6 : 4.5,
            fill: line.own ? css("--ground") : color,
            stroke: color,
            "stroke-width": 2,
          }),
        );
      });
    } else
      node.append(
        svg("path", {
          d: whole,
          fill: line.own ? "none" : color,
          "fill-opacity": line.faint || lines.length === 1 ? 0.12 : 0,
          stroke: color,
          "stroke-width": line.own ? 2.4 : line.faint ? 1.2 : 2,
          "stroke-dasharray": line.own ? "" : DASHES[line.m % 6],
          "stroke-linejoin": "round",
        }),
      );
  }
  if (someFloor())
    for (const k of order)
      if (marked(k)) {
        const [x, y] = point(k, 1.045);
        node.append(
          svg(
            "rect",
            { x: x - 4, y: y - 4, width: 8, height: 8, fill: css("--mark") },
            svg("title", {}, `${grid.names[k]} keeps the grid`),
          ),
        );
      }
  const last = lines[lines.length - 1],
    [degrees, value] = hand(last),
    [hx, hy] = around(radians(degrees), 1),
    [dx, dy] = around(radians(degrees), scale.share(value));
  node.append(
    svg("line", {
      x1: middle,
      y1: middle,
      x2: hx,
      y2: hy,
      stroke: css("--text"),
      "stroke-width": 1,
      "stroke-dasharray": "3 3",
    }),
    svg("circle", { cx: dx, cy: dy, r: 5.5, fill: css("--text"), stroke: css("--ground"), "stroke-width": 2 }),
  );
  const [lean, rise] = [Math.cos(1.18), Math.sin(1.18)]; // labels of the rings between two spokes
  for (const tick of scale.ticks)
    if (scale.share(tick) > 0.12)
      node.append(
        svg(
          "text",
          {
            x: middle + radius * scale.share(tick) * lean,
            y: middle - radius * scale.share(tick) * rise + 4,
            class: "small halo",
            "text-anchor": "middle",
          },
          short(tick),
        ),
      );
  return choosing(node, (x, y) => {
    const a = Math.atan2(middle - y, x - middle);
    return order.reduce((best, k) => (Math.cos(angle(k) - a) > Math.cos(angle(best) - a) ? k : best), order[0]);
  });
}

function lineplot(lines, scale) {
  const width = fitting(520),
    height = Math.max(240, 0.62 * width),
    left = 56,
    bottom = 40,
    xs = grid.axes[0].coordinates,
    order = xs.map((_, k) => k).sort((a, b) => xs[a] - xs[b]);
  const low = Math.log(Math.min(...xs)),
    high = Math.log(Math.max(...xs)),
    along = factor => left + ((Math.log(factor) - low) / (high - low || 1)) * (width - left - 16),
    x = k => along(xs[k]),
    y = v => 12 + (1 - scale.share(v)) * (height - bottom - 12);
  const node = canvasOf(width, height, `${quantity(0).label} by scale`),
    path = f => order.map((k, i) => `${i ? "L" : "M"}${x(k).toFixed(1)} ${y(f(k)).toFixed(1)}`).join("");
  for (const tick of scale.ticks)
    node.append(
      svg("line", { x1: left, x2: width - 16, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick)),
    );
  order.forEach((k, i) => {
    if (i % Math.ceil(order.length / 7) === 0 || i === order.length - 1)
      node.append(svg("text", { x: x(k), y: height - 18, "text-anchor": "middle" }, grid.names[k]));
  });
  if (state.quantity === "error" && someFloor())
    node.append(
      svg("path", {
        d: path(k => floors()[k]) + `L${x(order[order.length - 1])} ${y(0)} L${x(order[0])} ${y(0)}Z`,
        fill: css("--band"),
      }),
    );
  for (const line of lines)
    node.append(
      svg("path", {
        d: line.fine
          ? line.fine.map(([factor, v], i) => `${i ? "L" : "M"}${along(factor).toFixed(1)} ${y(v).toFixed(1)}`).join("")
          : path(k => line.values[k]),
        fill: "none",
        stroke: modelColor(line.m),
        "stroke-width": line.own ? 2.4 : 1.6,
        "stroke-dasharray": line.own ? "" : DASHES[line.m % 6],
      }),
    );
  node.append(
    svg("line", {
      x1: along(hand()[0]),
      x2: along(hand()[0]),
      y1: 12,
      y2: height - bottom,
      stroke: css("--text"),
      "stroke-dasharray": "3 3",
    }),
  );
  return choosing(node, px => order.reduce((best, k) => (Math.abs(x(k) - px) < Math.abs(x(best) - px) ? k : best), order[0]));
}

// ------------------------------------------------------------------ words

const CAPTIONS = {
  angle: "Distance from the center is the value at each angle; a perfect model is a point in the middle.",
  shift: "Color is the value at each shift; the circle is no shift.",
  scale: "The value at each factor of scale.",
};
function orbitCaption() {
  const q = quantity(0),
    cards = !["angle", "scale"].includes(kinds[0]) && (!grid.cycles || graphed());
  const who =
    state.sample < 0
      ? `Mean of ${selection().length} samples.`
      : cards
        ? `Beside the mean of ${selection().length} samples stands sample ${state.sample}.`
        : `The strong line is sample ${state.sample}, the others are means of ${selection().length} samples.`;
  const how = graphed()
    ? "One tile per element; lines lead from g to g s for every generator s, with an arrow where s is not its own inverse."
    : grid.vectors
    ? "Each point is a rotation: its direction is the axis, its distance from the center the angle; squares also mirror. Drag to turn, click to choose."
    : grid.cycles
      ? "Permutations by the lengths of their cycles."
      : CAPTIONS[kinds[0]] && kinds.length < 3 && !kinds.includes("element")
        ? CAPTIONS[kinds[0]]
        : "One tile per element.";
  const floor =
    someFloor() && q.name === "error"
      ? " Between pixels the action itself interpolates: below the grey band an error cannot be told from it."
      : "";
  return `${q.label[0].toUpperCase() + q.label.slice(1)} along the orbit. ${how} ${who}${floor}${q.name === "error" ? freshness() : ""}`;
}
// Which of the figures a live page has measured anew, and in which precision the others are.
function freshness() {
  if (!sent.live) return "";
  const own = heardOrbit() ? ` Sample ${state.sample} was measured just now${inDtype()}.` : "",
    audited = models[state.model].audit.dtype;
  if (heardTable(state.model)) return `${own} So were all samples.`;
  return state.dtype && state.dtype !== audited ? `${own} Means are those of the audit, in ${audited}.` : own;
}
function orbitRows() {
  return Array.from({ length: elements }, (_, k) => ({
    element: grid.names[k],
    floor: floors()[k],
    keeps_grid: marked(k),
    ...Object.fromEntries(curves().map(line => [line.name, line.values[k]])),
  }));
}
