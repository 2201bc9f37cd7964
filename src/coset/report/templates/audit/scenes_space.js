// Points and molecules as balls and sticks, arrows on them, graphs on a circle.

const ATOMS = {
  1: ["#d9d9d9", 0.31],
  6: ["#555555", 0.76],
  7: ["#2a8fc7", 0.71],
  8: ["#d55e00", 0.66],
  9: ["#009e73", 0.57],
  14: ["#b08a3e", 1.11],
  15: ["#e69f00", 1.07],
  16: ["#e1cc55", 1.05],
  17: ["#2fcb9d", 1.02],
  32: ["#7f9a8f", 1.2],
};

// (..., n, d) as points of space; the plane is padded.
function cloud(x) {
  const d = x.shape.at(-1),
    n = x.data.length / d;
  return Array.from({ length: n }, (_, i) => [0, 1, 2].map(c => (c < d ? x.data[i * d + c] : 0)));
}

function arrow(pen, x, y, u, v, head = 5) {
  const a = Math.atan2(v - y, u - x),
    length = Math.hypot(u - x, v - y),
    tip = Math.min(head, length / 2);
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(u, v);
  pen.moveTo(u - tip * Math.cos(a - 0.5), v - tip * Math.sin(a - 0.5));
  pen.lineTo(u, v);
  pen.lineTo(u - tip * Math.cos(a + 0.5), v - tip * Math.sin(a + 0.5));
  pen.stroke();
}

// Pairs of atoms nearer than their covalent radii allow; none where labels are no atomic numbers.
function bonds(points, labels) {
  const found = [];
  if (!labels || points.length > 400) return found;
  for (let i = 0; i < points.length; i++)
    for (let j = 0; j < i; j++) {
      const a = ATOMS[labels[i]],
        b = ATOMS[labels[j]];
      if (a && b && Math.hypot(...points[i].map((v, c) => v - points[j][c])) < 1.25 * (a[1] + b[1])) found.push([i, j]);
    }
  return found;
}

// Balls and sticks; the whole page shares one view, and a drag turns it. The plane is seen from above.
function space(points, { labels, edges, arrows = [], size = 190, reach, longest: unit }) {
  const [node, pen] = surface(size, size, `${points.length} points`),
    flat = points.every(p => p[2] === 0) && arrows.every(list => list.every(v => v[2] === 0));
  const far =
      reach ??
      Math.max(
        1e-9,
        ...points.map(p => Math.hypot(...p)),
        ...(points.every(p => !Math.hypot(...p)) ? arrows.flat().map(v => Math.hypot(...v)) : []),
      ),
    scale = (0.44 * size) / far;
  const view = p => {
    const [u, v, depth] = flat ? [p[0], p[1], 0] : toScreen(p);
    return [size / 2 + scale * u, size / 2 - scale * v, depth];
  };
  const at = points.map(view),
    sticks = edges ? pairs(edges) : bonds(points, labels),
    ball = Math.max(2.2, Math.min(9, 0.05 * size * Math.sqrt(14 / Math.max(6, points.length))));
  const things = [
    ...sticks
      .filter(([i, j]) => at[i] && at[j])
      .map(([i, j]) => ({
        depth: (at[i][2] + at[j][2]) / 2,
        draw() {
          pen.strokeStyle = css("--soft");
          pen.lineWidth = ball / 2.2;
          pen.beginPath();
          pen.moveTo(at[i][0], at[i][1]);
          pen.lineTo(at[j][0], at[j][1]);
          pen.stroke();
        },
      })),
    ...at.map(([x, y, depth], i) => ({
      depth,
      draw() {
        const [color, radius] = labels
            ? (ATOMS[labels[i]] ?? [LIGHT[Math.abs(labels[i]) % 6], 0.7])
            : [ramp(i / Math.max(1, points.length - 1)), 0.7],
          r =
            arrows.length && !Math.hypot(...points[i])
              ? 2
              : ball * (0.6 + 0.6 * radius) * (flat ? 1 : 1 - (0.15 * depth) / far);
        pen.fillStyle = color;
        pen.strokeStyle = css("--text");
        pen.lineWidth = 0.6;
        pen.beginPath();
        pen.arc(x, y, r, 0, 7);
        pen.fill();
        pen.stroke();
      },
    })),
  ];
  things.sort((a, b) => b.depth - a.depth).forEach(thing => thing.draw());
  pen.strokeStyle = css("--fail");
  pen.lineWidth = 1.6;
  const length = unit ?? Math.max(1e-300, ...arrows.flat().map(v => Math.hypot(...v)));
  for (const list of arrows)
    list.forEach((v, i) => {
      const p = points[i] ?? [0, 0, 0],
        rest = !Math.hypot(...p) && points.every(q => !Math.hypot(...q)),
        tip = p.map((c, n) => c + v[n] * (rest ? 1 : (0.45 * far) / length));
      if (at[i]) arrow(pen, at[i][0], at[i][1], ...view(tip).slice(0, 2));
    });
  if (!flat) turnable(node);
  return node;
}

function turnable(node) {
  node.className = "turn";
  node.tabIndex = 0;
  const by = (a, b) => {
    turned = [turned[0] + a, Math.max(-1.5, Math.min(1.5, turned[1] + b))];
    waiting.add("turn");
    set({});
    if (!frame) frame = requestAnimationFrame(flush);
  };
  node.addEventListener("keydown", event => {
    const way = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[event.key];
    if (way) {
      event.preventDefault();
      by(...way);
    }
  });
  node.addEventListener("pointerdown", event => {
    let from = [event.clientX, event.clientY];
    const drag = more => {
      by((more.clientX - from[0]) / 90, (more.clientY - from[1]) / 90);
      from = [more.clientX, more.clientY];
    };
    const stop = () => {
      removeEventListener("pointermove", drag);
      removeEventListener("pointerup", stop);
    };
    addEventListener("pointermove", drag);
    addEventListener("pointerup", stop);
  });
}

const pairs = edges =>
  Array.from({ length: edges.data.length / 2 }, (_, e) => [edges.data[e], edges.data[edges.data.length / 2 + e]]);

// Nodes on a circle in their own order, so that a permutation is seen as edges that move.
function graph(edges, nodes, size = 190) {
  const list = pairs(edges),
    n = Math.max(nodes, 1 + Math.max(-1, ...list.flat())),
    [node, pen] = surface(size, size, `graph of ${n} nodes`),
    at = i => [
      size / 2 + 0.42 * size * Math.sin((2 * Math.PI * i) / n),
      size / 2 - 0.42 * size * Math.cos((2 * Math.PI * i) / n),
    ];
  pen.strokeStyle = css("--soft");
  pen.lineWidth = 1;
  for (const [i, j] of list) {
    pen.beginPath();
    pen.moveTo(...at(i));
    pen.lineTo(...at(j));
    pen.stroke();
  }
  pen.font = "10px system-ui";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let i = 0; i < n; i++) {
    pen.fillStyle = css("--accent");
    pen.beginPath();
    pen.arc(...at(i), n > 24 ? 3 : 8, 0, 7);
    pen.fill();
    if (n <= 24) {
      pen.fillStyle = css("--ground");
      pen.fillText(String(i), ...at(i));
    }
  }
  return node;
}
