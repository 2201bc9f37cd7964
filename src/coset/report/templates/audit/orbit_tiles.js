// Orbits over groups without a circle or a map: balls of rotations, tiles of a finite group, cycles of permutations.

let turned = [-0.5, 0.35];
function toScreen([x, y, z]) {
  const [a, b] = turned,
    u = Math.cos(a) * x - Math.sin(a) * y,
    v = Math.sin(a) * x + Math.cos(a) * y;
  return [u, Math.cos(b) * z - Math.sin(b) * v, Math.cos(b) * v + Math.sin(b) * z];
}

// The axis-angle ball: |vector| / pi from the center, or all on the sphere of axes.
function ball(lines, scale) {
  const size = lines.length > 2 ? 176 : 280,
    middle = size / 2,
    radius = size / 2 - 20,
    vectors = decode(grid.vectors),
    mirrored = decode(grid.mirrored).data;
  const places = Array.from({ length: elements }, (_, k) => {
    const v = [...row(vectors, k).data],
      length = Math.hypot(...v);
    return v.map(c => (state.space === "sphere" ? (length ? c / length : 0) : c / Math.PI));
  });
  const one = line => {
    const node = canvasOf(size, size, `${quantity(0).label} over rotations, ${line.name}`);
    node.append(svg("circle", { cx: middle, cy: middle, r: radius, class: "grid" }));
    for (const [tip, name] of [
      [[1, 0, 0], "x"],
      [[0, 1, 0], "y"],
      [[0, 0, 1], "z"],
    ]) {
      const [u, v] = toScreen(tip),
        [p, q] = [middle + radius * u, middle - radius * v];
      node.append(
        svg("line", { x1: middle, y1: middle, x2: p, y2: q, class: "grid" }),
        svg("text", { x: middle + (radius + 12) * u, y: middle - (radius + 12) * v + 4, "text-anchor": "middle" }, name),
      );
    }
    const screen = places.map(toScreen),
      order = screen.map((_, k) => k).sort((a, b) => screen[b][2] - screen[a][2]);
    for (const k of order) {
      const [u, v, depth] = screen[k],
        r = (elements > 200 ? 4 : 5.5) * Math.sqrt(size / 280) * (1 - 0.3 * depth),
        x = middle + radius * u,
        y = middle - radius * v,
        look = {
          fill: ramp(scale.share(line.values[k])),
          stroke: css(dark() ? "--soft" : "--ground"),
          "stroke-width": 0.7,
          opacity: depth > 0.3 && state.space === "sphere" ? 0.35 : 1,
        };
      node.append(
        mirrored[k]
          ? svg("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, ...look })
          : svg("circle", { cx: x, cy: y, r, ...look }),
      );
    }
    const [u, v] = screen[state.element];
    node.append(
      svg("circle", {
        cx: middle + radius * u,
        cy: middle - radius * v,
        r: 8.5,
        fill: "none",
        stroke: css("--text"),
        "stroke-width": 2.2,
      }),
    );
    spinning(
      node,
      (px, py) =>
        order.reduce(
          (best, k) => {
            const gap = Math.hypot(middle + radius * screen[k][0] - px, middle - radius * screen[k][1] - py) + 3 * screen[k][2];
            return gap < best[0] ? [gap, k] : best;
          },
          [20, null],
        )[1],
    );
    return html("div", { class: "card" }, html("h3", {}, line.name, html("small", {}, line.own ? "" : " · mean")), node);
  };
  return html(
    "div",
    {},
    html("div", { class: "row" }, lines.map(one)),
    strip(scale, quantity(0).label, state.quantity === "error" ? Math.max(...floors()) : 0),
  );
}

// A click chooses, a drag turns all drawings of space.
function spinning(node, nearest) {
  choosing(node, () => null);
  node.style.touchAction = "none";
  node.addEventListener("pointerdown", event => {
    let from = [event.clientX, event.clientY],
      moved = 0;
    const drag = more => {
      moved += Math.hypot(more.clientX - from[0], more.clientY - from[1]);
      turned = [
        turned[0] + (more.clientX - from[0]) / 120,
        Math.max(-1.5, Math.min(1.5, turned[1] + (more.clientY - from[1]) / 120)),
      ];
      from = [more.clientX, more.clientY];
      waiting.add("turn");
      set({});
      if (!frame) frame = requestAnimationFrame(flush);
    };
    const stop = end => {
      removeEventListener("pointermove", drag);
      removeEventListener("pointerup", stop);
      if (moved < 5 && nearest) {
        const box = node.getBoundingClientRect(),
          k = nearest(
            ((end.clientX - box.x) * node.viewBox.baseVal.width) / box.width,
            ((end.clientY - box.y) * node.viewBox.baseVal.height) / box.height,
          );
        if (k !== null) set({ element: k });
      }
    };
    addEventListener("pointermove", drag);
    addEventListener("pointerup", stop);
  });
}

// Cayley tiles: one per element, in rows that follow the grid's last axis, or filled up in order.
function tiles(lines, scale) {
  const columns =
      kinds.length > 1
        ? shape[shape.length - 1]
        : elements <= 8
          ? Math.min(elements, elements === 8 ? 4 : elements)
          : Math.ceil(Math.sqrt(elements * 1.4)),
    rows = Math.ceil(elements / columns);
  const width = Math.min(120, Math.max(26, Math.floor((lines.length > 1 ? 270 : 560) / columns))),
    height = Math.max(24, Math.min(52, width * 0.7)),
    named = width >= 56;
  const one = line => {
    const node = canvasOf(columns * width + 4, rows * height + 4, `${quantity(0).label} by element, ${line.name}`);
    for (let k = 0; k < elements; k++) {
      const x = 2 + (k % columns) * width,
        y = 2 + Math.floor(k / columns) * height,
        share = scale.share(line.values[k]),
        ink = inkOn(share),
        name = grid.names[k].replace("mirror at", "mirror");
      node.append(
        svg(
          "g",
          {},
          svg("title", {}, `${name}: ${short(line.values[k], 3)}`),
          svg("rect", { x, y, width: width - 2, height: height - 2, rx: 2, fill: ramp(share) }),
          named
            ? svg(
                "text",
                { x: x + 5, y: y + 15, class: "small", style: `fill:${ink}` },
                name.length > width / 6 ? `${name.slice(0, Math.floor(width / 6.4))}…` : name,
              )
            : null,
          width >= 34
            ? svg(
                "text",
                { x: x + 5, y: y + height - 8, style: `fill:${ink};font-size:${named ? 12 : 10}px` },
                short(line.values[k]),
              )
            : null,
          someFloor() && marked(k) ? svg("rect", { x: x + width - 11, y: y + 4, width: 5, height: 5, fill: ink }) : null,
        ),
      );
    }
    const x = 2 + (state.element % columns) * width,
      y = 2 + Math.floor(state.element / columns) * height;
    node.append(
      svg("rect", { x: x - 1, y: y - 1, width, height, rx: 3, fill: "none", stroke: css("--text"), "stroke-width": 2.5 }),
    );
    return html(
      "div",
      { class: "card" },
      html("h3", {}, line.name, html("small", {}, line.own ? "" : " · mean")),
      choosing(node, (px, py) => {
        const k = Math.floor((py - 2) / height) * columns + Math.floor((px - 2) / width);
        return px > 2 && px < 2 + columns * width && k >= 0 && k < elements ? k : null;
      }),
    );
  };
  return html(
    "div",
    {},
    html("div", { class: "row" }, lines.map(one)),
    strip(scale, quantity(0).label, state.quantity === "error" ? Math.max(...floors()) : 0),
  );
}

// Permutations as points over the lengths of their cycles, in order of how many letters they move.
function cycles(lines, scale) {
  const letters = type => (type === "e" ? 0 : type.split("+").reduce((a, b) => a + Number(b), 0));
  // many types are too many to name: then by how many letters a permutation moves
  const crowded = new Set(grid.cycles).size > 14,
    type = k => (crowded ? String(letters(grid.cycles[k])) : grid.cycles[k]);
  const types = [...new Set(grid.cycles.map((_, k) => type(k)))].sort((a, b) => letters(a) - letters(b) || a.length - b.length),
    width = fitting(560),
    height = Math.max(260, 0.6 * width),
    left = 56,
    bottom = 76,
    step = (width - left - 10) / types.length;
  const turns = new Map(),
    x = Array.from({ length: elements }, (_, k) => {
      const i = turns.get(type(k)) ?? 0;
      turns.set(type(k), i + 1);
      return left + (types.indexOf(type(k)) + 0.5 + 0.32 * (((i * 0.618) % 1) * 2 - 1)) * step;
    });
  const y = v => 12 + (1 - scale.share(v)) * (height - bottom - 12),
    node = canvasOf(width, height, `${quantity(0).label} by cycles`);
  for (const tick of scale.ticks)
    node.append(
      svg("line", { x1: left, x2: width - 8, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick)),
    );
  types.forEach(
    (type, i) =>
      (types.length <= 24 || i % Math.ceil(types.length / 24) === 0) &&
      node.append(
        svg(
          "text",
          {
            x: left + (i + 0.5) * step,
            y: height - bottom + 14,
            "text-anchor": types.length > 9 && !crowded ? "end" : "middle",
            class: "small",
            transform: types.length > 9 && !crowded ? `rotate(-45 ${left + (i + 0.5) * step} ${height - bottom + 14})` : null,
          },
          type,
        ),
      ),
  );
  node.append(
    svg(
      "text",
      { x: left + (width - left) / 2, y: height - 6, "text-anchor": "middle" },
      crowded ? "letters that move" : "lengths of cycles",
    ),
  );
  for (const line of lines)
    for (let k = 0; k < elements; k++)
      node.append(
        svg(
          "circle",
          {
            cx: x[k],
            cy: y(line.values[k]),
            r: line.own ? 4.5 : 3,
            fill: line.own ? "none" : modelColor(line.m),
            stroke: modelColor(line.m),
            "stroke-width": 1.6,
            opacity: 0.8,
          },
          svg("title", {}, `${grid.names[k]}: ${short(line.values[k], 3)}`),
        ),
      );
  const last = lines[lines.length - 1];
  if (last)
    node.append(
      svg("circle", {
        cx: x[state.element],
        cy: y(last.values[state.element]),
        r: 8,
        fill: "none",
        stroke: css("--text"),
        "stroke-width": 2,
      }),
    );
  return choosing(node, (px, py) => (last ? most(x.map((v, k) => -Math.hypot(v - px, y(last.values[k]) - py))) : null));
}
