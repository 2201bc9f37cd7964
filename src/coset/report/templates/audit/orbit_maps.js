// Orbits over two coordinates: maps of shifts.

// One map per curve, on shared axes and colors.
function maps(lines, scale) {
  const [rows, columns] = shape,
    cell = Math.max(5, Math.min(30, Math.floor((lines.length > 2 ? 130 : 220) / Math.max(rows, columns)))),
    left = 44,
    upward = grid.axes[0].name.startsWith("up");
  const place = k => {
    const [i, j] = unravel(k);
    return [left + j * cell, 8 + (upward ? rows - 1 - i : i) * cell];
  };
  const one = line => {
    const node = canvasOf(left + columns * cell + 12, rows * cell + 52, `${quantity(0).label} over shifts, ${line.name}`);
    for (let k = 0; k < elements; k++) {
      const [x, y] = place(k),
        hidden = state.quantity === "error" && line.values[k] <= floors()[k] && floors()[k] > 0;
      node.append(
        svg(
          "rect",
          { x, y, width: cell - 0.5, height: cell - 0.5, fill: ramp(scale.share(line.values[k])) },
          svg("title", {}, `${grid.names[k]}: ${short(line.values[k], 3)}${hidden ? ", below the floor" : ""}`),
        ),
      );
      if (someFloor() && marked(k))
        node.append(
          svg("rect", {
            x: x + cell / 2 - 2,
            y: y + cell / 2 - 2,
            width: 4,
            height: 4,
            fill: inkOn(scale.share(line.values[k])),
          }),
        );
    }
    const [x, y] = place(state.element),
      about = (axis, i) => grid.axes[axis].labels[i];
    if (grid.identity >= 0) {
      const [ox, oy] = place(grid.identity);
      node.append(
        svg(
          "circle",
          {
            cx: ox + cell / 2,
            cy: oy + cell / 2,
            r: cell / 3,
            fill: "none",
            stroke: inkOn(scale.share(line.values[grid.identity])),
          },
          svg("title", {}, "the identity"),
        ),
      );
    }
    node.append(
      svg("rect", {
        x: x - 1,
        y: y - 1,
        width: cell + 1.5,
        height: cell + 1.5,
        fill: "none",
        stroke: css("--text"),
        "stroke-width": 2.5,
      }),
      svg("text", { x: left, y: rows * cell + 24 }, about(1, 0)),
      svg("text", { x: left + columns * cell - 4, y: rows * cell + 24, "text-anchor": "end" }, about(1, columns - 1)),
      svg("text", { x: left + (columns * cell) / 2, y: rows * cell + 40, "text-anchor": "middle" }, grid.axes[1].name),
      svg("text", { x: left - 6, y: 20, "text-anchor": "end" }, about(0, upward ? rows - 1 : 0)),
      svg("text", { x: left - 6, y: rows * cell + 4, "text-anchor": "end" }, about(0, upward ? 0 : rows - 1)),
      svg(
        "text",
        { x: 12, y: 8 + (rows * cell) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${8 + (rows * cell) / 2})` },
        grid.axes[0].name,
      ),
    );
    return html(
      "div",
      { class: "card" },
      html("h3", {}, line.name, html("small", {}, line.own ? "" : " · mean")),
      choosing(node, (px, py) => {
        const j = Math.floor((px - left) / cell),
          r = Math.floor((py - 8) / cell),
          i = upward ? rows - 1 - r : r;
        return i >= 0 && i < rows && j >= 0 && j < columns ? ravel([i, j]) : null;
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
