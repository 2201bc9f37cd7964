// One sample drawn from its fields: pictures, points and molecules, graphs, sequences, matrices, plain numbers.

function surface(width, height, label, pixels) {
  const ratio = pixels ? 1 : Math.min(2, devicePixelRatio || 1),
    node = html("canvas", {
      width: Math.round(width * ratio),
      height: Math.round(height * ratio),
      role: "img",
      "aria-label": label,
    });
  node.style.width = `${width}px`;
  node.style.height = `${height}px`;
  const pen = node.getContext("2d", { willReadFrequently: true }); // small and redrawn at every drag: kept off the GPU
  pen.scale(ratio, ratio);
  return [node, pen];
}
const card = (title, about, ...content) =>
  html("div", { class: "card" }, html("h3", {}, title, about ? html("small", {}, ` ${about}`) : null), content);

// Drawings of named fields: `values` by name; what stands together in space goes into one scene.
function scenes(fields, values, options) {
  const out = [],
    points = fields.find(field => field.draw === "points" && values[field.name]),
    edges = fields.find(field => field.draw === "edges" && values[field.name]);
  const inside = name => {
    const field = fields.find(one => one.name === name);
    return points && field.index.at(-1 - 0) === points.index.at(-1);
  };
  if (points) {
    const labels = fields.find(
      field =>
        field.draw === "labels" &&
        values[field.name] &&
        field.name !== points.name &&
        values[field.name].data.length === cloud(values[points.name]).length &&
        !field.target,
    );
    const vectors = fields.filter(field => field.draw === "vectors" && values[field.name] && inside(field.name));
    out.push(
      card(
        options.title ?? (points.name || "points"),
        options.note,
        space(cloud(values[points.name]), {
          labels: labels && values[labels.name].data,
          edges: edges && values[edges.name],
          arrows: vectors.map(field => cloud(values[field.name])),
          size: options.size,
          reach: options.reach,
          longest: options.longest,
        }),
      ),
    );
  } else if (edges)
    out.push(card(edges.name || "graph", options.note, graph(values[edges.name], options.nodes ?? 0, options.size)));
  for (const field of fields) {
    const value = values[field.name],
      about = options.note;
    if (
      !value ||
      field === points ||
      field === edges ||
      (field.draw === "labels" && (points || edges)) ||
      (field.target && field !== edges)
    )
      continue;
    const title = field.name || options.title || "input";
    if (field.draw === "image") out.push(card(title, about, picture(value, options)));
    else if (field.draw === "flow") out.push(card(title, about, flow(value, options.size)));
    else if (field.draw === "sequence") out.push(card(title, about, traces(value, options)));
    else if (field.draw === "points") continue;
    else if (field.draw === "vectors") {
      if (!points || !inside(field.name))
        out.push(
          card(
            title,
            about,
            space(
              cloud(value).map(() => [0, 0, 0]),
              { arrows: [cloud(value)], size: options.size, reach: options.vectorReach },
            ),
          ),
        );
    } else if (field.draw === "matrix") out.push(card(title, about, matrix(value, options)));
    else out.push(card(title, about, numbers(value, options)));
  }
  return out;
}

// ------------------------------------------------------------------ pixels

// (C, H, W): one channel in grey, three in color; a difference from blue to orange about 0.
function picture(x, { range, signed, size }) {
  const [h, w] = x.shape.slice(-2),
    channels = x.data.length / (h * w),
    color = channels === 3 && signed === undefined,
    edge = size ?? 148;
  const [node, pen] = surface(w, h, "picture", true),
    image = pen.createImageData(w, h),
    [low, high] = range ?? extent([x]);
  for (let p = 0; p < h * w; p++) {
    const level = c => Math.round(255 * Math.min(1, Math.max(0, (x.data[c * h * w + p] - low) / (high - low || 1))));
    const value = color
      ? [level(0), level(1), level(2)]
      : signed !== undefined
        ? blend(SPLIT, 0.5 + (0.5 * x.data[p]) / (signed || 1))
        : [level(0), level(0), level(0)];
    image.data.set([...value, 255], 4 * p);
  }
  pen.putImageData(image, 0, 0);
  node.className = "pixels";
  node.style.width = `${Math.round(edge * Math.min(1, w / h))}px`;
  node.style.height = `${Math.round(edge * Math.min(1, h / w))}px`;
  return node;
}

function extent(tensors) {
  let low = Infinity,
    high = -Infinity;
  for (const x of tensors)
    if (x)
      for (const v of x.data)
        if (Number.isFinite(v)) {
          low = Math.min(low, v);
          high = Math.max(high, v);
        }
  return low < high ? [low, high] : [Math.min(0, low), Math.max(1, high)];
}
const largest = tensors => {
  let top = 0;
  for (const x of tensors) if (x) for (const v of x.data) if (Number.isFinite(v)) top = Math.max(top, Math.abs(v));
  return top;
};

function flow(x, edge = 148) {
  const [h, w] = x.shape.slice(-2),
    [node, pen] = surface(edge, (edge * h) / w, "vectors on pixels"),
    step = Math.max(1, Math.ceil(w / 16)),
    cell = edge / w,
    reach = largest([x]) || 1;
  pen.strokeStyle = css("--accent");
  pen.lineWidth = 1.2;
  for (let i = 0; i < h; i += step)
    for (let j = 0; j < w; j += step) {
      const u = x.data[i * w + j] / reach,
        v = x.data[h * w + i * w + j] / reach,
        a = (j + 0.5) * cell,
        b = (i + 0.5) * cell;
      arrow(pen, a, b, a + u * cell * step, b - v * cell * step, 2.5);
    }
  return node;
}

function matrix(x, { range, signed, size }) {
  const [h, w] = x.shape.slice(-2),
    edge = size ?? 148,
    cell = edge / Math.max(h, w),
    [node, pen] = surface(w * cell, h * cell, "matrix"),
    [low, high] = range ?? extent([x]);
  for (let i = 0; i < h; i++)
    for (let j = 0; j < w; j++) {
      const v = x.data[i * w + j];
      pen.fillStyle =
        signed !== undefined ? rgb(blend(SPLIT, 0.5 + (0.5 * v) / (signed || 1))) : ramp((v - low) / (high - low || 1));
      pen.fillRect(j * cell, i * cell, cell + 0.5, cell + 0.5);
    }
  return node;
}

// ------------------------------------------------------------------ numbers

// A bar for each of at most 64 numbers, about 0.
function numbers(x, { range, signed, size }) {
  if (x.data.length === 1) return html("p", { class: "figure" }, short(x.data[0], 5));
  const data = Array.from(x.data.slice(0, 64)),
    width = Math.max(size ?? 148, Math.min(260, 12 * data.length)),
    height = 112,
    [node, pen] = surface(
      width,
      height,
      `numbers ${data
        .slice(0, 12)
        .map(v => short(v, 3))
        .join(", ")}`,
    );
  const [a, b] = signed !== undefined ? [-signed || -1, signed || 1] : (range ?? extent([x])),
    low = Math.min(0, a),
    high = Math.max(0, b),
    y = v => 6 + (1 - (v - low) / (high - low || 1)) * (height - 22),
    step = width / data.length;
  const top = most(data);
  data.forEach((v, i) => {
    pen.fillStyle = signed !== undefined ? css("--fail") : i === top && data.length > 1 ? css("--accent") : css("--soft");
    pen.fillRect(i * step + 1, Math.min(y(0), y(v)), Math.max(1, step - 2), Math.max(1, Math.abs(y(v) - y(0))));
  });
  pen.strokeStyle = css("--line");
  pen.beginPath();
  pen.moveTo(0, y(0));
  pen.lineTo(width, y(0));
  pen.stroke();
  pen.fillStyle = css("--soft");
  pen.font = "10px system-ui";
  pen.textAlign = "center";
  if (data.length <= 12)
    data.forEach((v, i) => pen.fillText(data.length === 1 ? short(v, 4) : String(i), (i + 0.5) * step, height - 3));
  return node;
}

function traces(x, { range, signed }) {
  const length = x.shape.at(-1),
    channels = Math.min(6, x.data.length / length),
    width = 240,
    height = 112,
    [node, pen] = surface(width, height, "sequence"),
    [low, high] = signed !== undefined ? [-signed || -1, signed || 1] : (range ?? extent([x]));
  for (let c = 0; c < channels; c++) {
    pen.strokeStyle = modelColor(c);
    pen.lineWidth = 1.5;
    pen.beginPath();
    for (let i = 0; i < length; i++)
      pen[i ? "lineTo" : "moveTo"](
        4 + (i / Math.max(1, length - 1)) * (width - 8),
        4 + (1 - (x.data[c * length + i] - low) / (high - low || 1)) * (height - 8),
      );
    pen.stroke();
  }
  return node;
}
