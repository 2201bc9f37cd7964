// Drawing: elements of SVG and HTML, scales, ticks, colors that color-blind readers tell apart.

const NS = "http://www.w3.org/2000/svg";
function put(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key.startsWith("aria-") && typeof value === "boolean") node.setAttribute(key, String(value));
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...(children ?? []).flat().filter(child => child !== null && child !== undefined && child !== false));
  return node;
}
const svg = (tag, attributes, ...children) => put(document.createElementNS(NS, tag), attributes, children);
const html = (tag, attributes, ...children) => put(document.createElement(tag), attributes, children);
// A table that scrolls within its column: what it is called, names of columns, rows.
const tableOf = (label, names, rows) =>
  html(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    html(
      "table",
      {},
      html(
        "thead",
        {},
        html(
          "tr",
          {},
          names.map(name => html("th", { scope: "col" }, name)),
        ),
      ),
      html("tbody", {}, rows),
    ),
  );

// Colors of the style sheet, asked for once per theme.
const colors = new Map();
function css(name) {
  if (!colors.has(name)) colors.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colors.get(name);
}

// As wide as asked, or as the page is: letters keep their size on a phone.
const fitting = width => Math.min(width, Math.max(300, document.getElementById("panels").clientWidth));

// A drawing of `width` x `height` that shrinks with its column.
function canvasOf(width, height, label, attributes) {
  return svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: "img",
    "aria-label": label,
    style: "height:auto",
    ...attributes,
  });
}

// Okabe and Ito; on dark ground the lighter ones. Lines differ by dashes as well.
const LIGHT = ["#0072B2", "#D55E00", "#009E73", "#B0578D", "#2A8FC7", "#8A6D00"],
  DARK = ["#56B4E9", "#FF8B3D", "#2FCB9D", "#E39AC6", "#9AD0F5", "#F0C94A"];
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "12 4", "1 4"];
const dark = () => document.documentElement.dataset.theme === "dark";
const modelColor = m => (dark() ? DARK : LIGHT)[m % 6];
const swatch = m =>
  svg(
    "svg",
    { width: 26, height: 10, "aria-hidden": "true" },
    svg("line", { x1: 1, x2: 25, y1: 5, y2: 5, stroke: modelColor(m), "stroke-width": 3, "stroke-dasharray": DASHES[m % 6] }),
  );

// Dark to light in even steps of lightness (the stops of cividis), and a diverging scale from blue to orange.
const RAMP = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"].map(
  channels,
);
const SPLIT = ["#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b35806"].map(channels);
function channels(text) {
  return [1, 3, 5].map(i => parseInt(text.slice(i, i + 2), 16));
}
function blend(stops, share) {
  const at = Math.min(Math.max(Number.isFinite(share) ? share : 0, 0), 1) * (stops.length - 1),
    low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((v, i) => Math.round(v + (at - low) * (stops[low + 1][i] - v)));
}
const rgb = ([r, g, b]) => `rgb(${r},${g},${b})`;
const ramp = share => rgb(blend(RAMP, share));
const inkOn = share => (share > 0.465 ? "#000" : "#fff"); // where both have a contrast of 4.5

// ------------------------------------------------------------------ scales

const TINY = 1e-17;
// From values to 0..1, linear from 0 or logarithmic; `top` is the largest value that is shown.
function scaleOf(values, better, limit) {
  let high = 0,
    low = Infinity;
  for (const v of values)
    if (Number.isFinite(v)) {
      high = Math.max(high, v);
      if (v > 0) low = Math.min(low, v);
    }
  if (limit) high = number(limit[1]);
  if (state.scale === "log") {
    const top = Math.ceil(Math.log10(Math.max(high, TINY) * 1.0001)),
      bottom = Math.min(Math.floor(Math.log10(Math.max(Number.isFinite(low) ? low : TINY, TINY))), top - 1);
    const share = v => Math.min(1, Math.max(0, (Math.log10(Math.max(v, TINY)) - bottom) / (top - bottom)));
    const every = Math.max(1, Math.ceil((top - bottom) / 5)),
      ticks = [];
    for (let e = top; e >= bottom; e -= every) ticks.unshift(10 ** e);
    return { share, ticks, top: 10 ** top };
  }
  const top = limit ? high : (high || 1) * 1.04,
    ticks = tidy(top).filter(tick => tick <= top * 1.0001);
  return { share: v => Math.min(1, Math.max(0, v / top)), ticks, top };
}
// From the smallest to the largest of some values: colors that tell samples apart.
function spanOf(values) {
  const finite = Array.from(values).filter(Number.isFinite),
    low = Math.min(...finite),
    high = Math.max(...finite),
    width = high - low || 1;
  return { share: v => (v - low) / width, ticks: [low, low + width / 2, low + width], top: high, digits: 3 };
}
function tidy(high, about = 4) {
  const raw = high / about,
    power = 10 ** Math.floor(Math.log10(raw)),
    step = [1, 2, 2.5, 5, 10].find(s => s * power >= raw * 0.9999) * power,
    out = [];
  for (let i = 0; i * step <= high * 1.0001; i++) out.push(i * step);
  if (out[out.length - 1] < high * 0.999) out.push(out.length * step);
  return out;
}
function short(value, digits = 2) {
  value = number(value);
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 0.001 && size < 10000) return String(Number(value.toPrecision(Math.max(digits, size >= 100 ? 3 : digits))));
  return value.toExponential(Math.max(0, digits - 1)).replace(/\.?0*e\+?/, "e");
}
const percent = value => `${short(100 * value, value < 0.1 ? 2 : 3)}\u00a0%`;

// The colors' meaning as a strip, with the floor bracketed.
function strip(scale, label, floor = 0, width = 300) {
  const node = canvasOf(width, 48, `${label}: color scale`),
    steps = 40,
    inner = width - 20;
  for (let i = 0; i < steps; i++)
    node.append(
      svg("rect", { x: 10 + (i * inner) / steps, y: 14, width: inner / steps + 0.5, height: 9, fill: ramp((i + 0.5) / steps) }),
    );
  for (const tick of scale.ticks)
    node.append(
      svg(
        "text",
        {
          x: 10 + scale.share(tick) * inner,
          y: 42,
          "text-anchor": scale.share(tick) > 0.97 ? "end" : scale.share(tick) < 0.03 ? "start" : "middle",
          class: "small",
        },
        short(tick, scale.digits),
      ),
    );
  node.append(svg("text", { x: 10, y: 10, class: "small" }, label));
  if (floor > 0)
    node.append(
      svg(
        "path",
        { d: `M10 26 V30 H${10 + Math.max(2, scale.share(floor) * inner)} V26`, fill: "none", stroke: css("--text") },
        svg("title", {}, `interpolation floor up to ${short(floor)}`),
      ),
    );
  return node;
}
