// The frame of every figure: title, permalink, downloads, caption; redrawn when what it shows changes.

const frames = new Map();
const FIRST = 2; // figures of the first picture; the others are drawn after it
const unseen = [];

// draw(body) fills the figure; caption() and rows() tell it in words and numbers: rows is a list of plain objects.
function panel(id, title, { keys, draw, caption, rows, controls = [], wide = false, needs = () => true }) {
  const body = html("div", { class: "body" }),
    words = html("figcaption", {}),
    bar = html("div", { class: "controls" });
  const tool = (text, hint, act) =>
    html("button", { type: "button", title: `${title}: ${hint}`, "aria-label": `${title}: ${hint}`, onclick: act }, text);
  const node = html(
    "section",
    { class: wide ? "panel wide" : "panel", id, "aria-labelledby": `${id}-title` },
    html(
      "div",
      { class: "head" },
      html("h2", { id: `${id}-title` }, title),
      html(
        "div",
        { class: "tools" },
        tool("link", "copy a link to this view", () => permalink(id)),
        tool("SVG", "save as SVG", () => saveSvg(id, body)),
        tool("PNG", "save as PNG", () => savePng(id, body)),
        tool("CSV", "save the numbers as CSV", () => save(`${id}.csv`, csv(rows()), "text/csv")),
        tool("JSON", "save the numbers as JSON", () => save(`${id}.json`, JSON.stringify(rows(), null, 1), "application/json")),
      ),
    ),
    controls.length
      ? put(
          bar,
          {},
          controls.map(control => control()),
        )
      : null,
    html("figure", {}, body, words),
  );
  document.getElementById("panels").append(node);
  const refresh = changed => {
    if (changed && !needs(changed)) return;
    const reachable = () => [...body.querySelectorAll("[tabindex], button, input, select")],
      held = reachable().indexOf(document.activeElement);
    draw(body);
    words.textContent = caption();
    if (held >= 0) reachable()[held]?.focus({ preventScroll: true }); // what was drawn anew keeps the focus
  };
  frames.set(id, { node, body, rows });
  watch([...keys, "theme"], refresh);
  if (frames.size <= FIRST) refresh();
  else unseen.push(refresh);
}

function permalink(id) {
  state.panel = id;
  try {
    history.replaceState(null, "", address(id));
  } catch {
    location.hash = address(id);
  }
  copy(location.href, "link copied");
}

function say(text) {
  document.getElementById("said").textContent = text;
}

async function copy(text, told, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = html("textarea", {});
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(told);
  if (button) {
    const before = button.textContent;
    button.textContent = "copied";
    setTimeout(() => {
      button.textContent = before;
    }, 1500);
  }
}

// ------------------------------------------------------------------ files

function save(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type }),
    address = URL.createObjectURL(blob);
  html("a", { href: address, download: `coset-${name}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 5000);
}

function csv(rows) {
  const names = [...new Set(rows.flatMap(Object.keys))];
  const cell = value => {
    const text = String(value ?? "");
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names.join(","), ...rows.map(row => names.map(name => cell(row[name])).join(","))].join("\n") + "\n";
}

// Every drawing of a figure, one below the other or side by side as on the page, as one SVG with its colors written out.
function standalone(body) {
  const frame = body.getBoundingClientRect(),
    width = Math.ceil(frame.width),
    height = Math.ceil(frame.height);
  const whole = svg(
    "svg",
    { xmlns: NS, width, height, viewBox: `0 0 ${width} ${height}` },
    svg("rect", { width, height, fill: css("--ground") }),
  );
  for (const part of body.querySelectorAll("svg, canvas, h3, td, th")) {
    const at = part.getBoundingClientRect(),
      x = at.x - frame.x,
      y = at.y - frame.y;
    if (!at.width || (part.closest("svg") !== part && part.closest("svg"))) continue;
    if (part.tagName === "CANVAS")
      whole.append(
        svg("image", { x, y, width: at.width, height: at.height, href: part.toDataURL(), style: "image-rendering:pixelated" }),
      );
    else if (part.tagName === "svg") {
      const twin = inlined(part);
      put(twin, { x, y, width: at.width, height: at.height });
      whole.append(twin);
    } else
      whole.append(
        svg(
          "text",
          { x, y: y + at.height - 6, fill: css("--text"), style: "font:12px system-ui,sans-serif" },
          part.textContent,
        ),
      );
  }
  return new XMLSerializer().serializeToString(whole);
}
function inlined(node) {
  const twin = node.cloneNode(true),
    all = [node, ...node.querySelectorAll("*")],
    copies = [twin, ...twin.querySelectorAll("*")];
  all.forEach((one, i) => {
    const style = getComputedStyle(one);
    for (const name of ["fill", "stroke", "font", "opacity"]) if (style[name]) copies[i].style[name] = style[name];
  });
  return twin;
}
function saveSvg(id, body) {
  save(`${id}.svg`, standalone(body), "image/svg+xml");
}
function savePng(id, body) {
  const image = new Image(),
    { width, height } = body.getBoundingClientRect(),
    address = URL.createObjectURL(new Blob([standalone(body)], { type: "image/svg+xml" }));
  image.onload = () => {
    const canvas = html("canvas", { width: 2 * Math.ceil(width), height: 2 * Math.ceil(height) });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(blob => {
      save(`${id}.png`, blob);
      URL.revokeObjectURL(address);
    });
  };
  image.src = address;
}

// ------------------------------------------------------------------ controls

function choice(label, key, options, parse = String) {
  return () => {
    const pick = html(
      "select",
      { onchange: event => set({ [key]: parse(event.target.value) }) },
      options.map(([value, text]) => html("option", { value }, text)),
    );
    const follow = () => {
      pick.value = state[key];
    };
    watch([key], follow);
    follow();
    return html("label", {}, label, pick);
  };
}
function toggle(label, key, on, off) {
  return () => {
    const button = html("button", { type: "button", onclick: () => set({ [key]: state[key] === on ? off : on }) }, label);
    const follow = () => button.setAttribute("aria-pressed", state[key] === on);
    watch([key], follow);
    follow();
    return button;
  };
}
