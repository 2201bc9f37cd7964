// Orbits over a finite group: its Cayley graph, a tile per element and a line from g to g s for every generator s.

// Where the generators lead, as lists of places; their orders.
function generated() {
  const leads = decode(grid.cayley.leads),
    found = grid.cayley.generators.map((name, i) => {
      const to = Array.from(row(leads, i).data);
      let order = 1;
      for (let k = to[0]; k !== 0 && order <= elements; k = to[k]) order++;
      return { name, to, order };
    });
  return found;
}

// Cosets of the generator of highest order are circles: one inside the other where there are two, else around a common center.
function placed(generators) {
  const turn = generators.reduce((best, one) => (one.order > best.order ? one : best)),
    cosets = [],
    seen = new Set(),
    at = new Array(elements);
  for (let start = 0; start < elements; start++) {
    const coset = [];
    for (let k = start; !seen.has(k); k = turn.to[k]) {
      seen.add(k);
      coset.push(k);
    }
    if (coset.length) cosets.push(coset);
  }
  const round = (k, a, r, [x, y] = [0, 0]) => {
    at[k] = [x + r * Math.sin(a), y - r * Math.cos(a)];
  };
  const angle = (i, n) => (2 * Math.PI * i) / n;
  if (cosets.length <= 2) {
    cosets[0].forEach((k, i) => round(k, angle(i, cosets[0].length), 1));
    // the inner circle beside its neighbors on the outer one, so that lines between them are spokes
    const other = generators.find(one => one !== turn);
    (cosets[1] ?? []).forEach((k, i) => {
      const beside = other ? cosets[0].findIndex(g => other.to[g] === k) : -1;
      round(k, angle(beside >= 0 ? beside : i, cosets[0].length), 0.5);
    });
    return at;
  }
  const small = Math.min(0.3, 1.9 / cosets.length);
  cosets.forEach((coset, c) => {
    const a = angle(c, cosets.length),
      center = [(1 - small) * Math.sin(a), (small - 1) * Math.cos(a)];
    coset.forEach((k, i) => round(k, a + angle(i, coset.length), small, center));
  });
  return at;
}

function cayley(lines, scale) {
  const generators = generated(),
    at = placed(generators),
    size = lines.length > 1 ? 276 : 440,
    gaps = at.flatMap((p, i) => at.slice(0, i).map(q => Math.hypot(p[0] - q[0], p[1] - q[1]))),
    gap = Math.min(1, ...gaps),
    width = Math.max(9, Math.min(58, (0.86 * gap * size) / (2 + gap))),
    height = Math.max(9, Math.min(34, 0.68 * width)),
    middle = size / 2,
    reach = middle - width / 2 - 3;
  const place = k => [middle + reach * at[k][0], middle + reach * at[k][1]];
  const one = line => {
    const node = canvasOf(size, size, `${quantity(0).label} on the Cayley graph, ${line.name}`);
    generators.forEach((generator, i) => node.append(...edges(generator, i, place, width)));
    for (let k = 0; k < elements; k++) node.append(tile(k, line.values[k], scale, place(k), [width, height]));
    const [x, y] = place(state.element);
    node.append(
      svg("rect", {
        x: x - width / 2 - 2,
        y: y - height / 2 - 2,
        width: width + 4,
        height: height + 4,
        rx: 4,
        fill: "none",
        stroke: css("--text"),
        "stroke-width": 2.5,
      }),
    );
    return html(
      "div",
      { class: "card" },
      html("h3", {}, line.name, html("small", {}, line.own ? "" : " · mean")),
      choosing(node, (px, py) => {
        const far = k => Math.max(Math.abs(place(k)[0] - px) / width, Math.abs(place(k)[1] - py) / height);
        const k = most(at.map((_, k) => -far(k)));
        return far(k) <= 0.75 ? k : null;
      }),
    );
  };
  const key = generators.map((generator, i) =>
    html(
      "span",
      {},
      svg("svg", { width: 30, height: 8 }, svg("path", { d: "M1 4H29", ...stroke(i) })),
      generator.name.replace("mirror at", "mirror"),
    ),
  );
  return html(
    "div",
    {},
    html("div", { class: "row" }, lines.map(one)),
    html("div", { class: "legend" }, key),
    strip(scale, quantity(0).label, state.quantity === "error" ? Math.max(...floors()) : 0),
  );
}

const stroke = i => ({ stroke: css("--soft"), fill: "none", "stroke-width": 1.4, "stroke-dasharray": DASHES[i % 6] });

// Lines of one generator, with a head where going back is another element.
function edges(generator, i, place, width) {
  const out = [];
  generator.to.forEach((to, k) => {
    if (generator.order <= 2 && to < k) return;
    const [a, b] = place(k),
      [c, d] = place(to),
      length = Math.hypot(c - a, d - b) || 1,
      [u, v] = [(c - a) / length, (d - b) / length],
      [x, y] = [(a + c) / 2 + 3 * u, (b + d) / 2 + 3 * v];
    out.push(svg("path", { d: `M${a} ${b}L${c} ${d}`, ...stroke(i) }));
    if (generator.order > 2 && length > width)
      out.push(
        svg("path", {
          d: `M${x} ${y}L${x - 7 * u - 3.5 * v} ${y - 7 * v + 3.5 * u}L${x - 7 * u + 3.5 * v} ${y - 7 * v - 3.5 * u}Z`,
          fill: css("--soft"),
        }),
      );
  });
  return out;
}

function tile(k, value, scale, [x, y], [width, height]) {
  const share = scale.share(value),
    ink = inkOn(share),
    name = grid.names[k].replace("mirror at", "m").replace("identity", "e"),
    text = (content, dy, size) =>
      svg("text", { x, y: y + dy, "text-anchor": "middle", style: `fill:${ink};font-size:${size}px` }, content);
  return svg(
    "g",
    {},
    svg("title", {}, `${grid.names[k]}: ${short(value, 3)}`),
    svg("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: 3, fill: ramp(share) }),
    width >= 40 && name.length * 4.9 < width ? text(name, -4, 9) : null,
    width >= 24 ? text(short(value), width >= 40 && name.length * 4.9 < width ? 10 : 4, width >= 40 ? 12 : 9.5) : null,
    someFloor() && marked(k) && width >= 24
      ? svg("rect", { x: x + width / 2 - 7, y: y - height / 2 + 2, width: 4, height: 4, fill: ink })
      : null,
  );
}
