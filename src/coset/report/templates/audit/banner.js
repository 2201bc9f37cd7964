// The verdict in words with its likely cause and the commands; models to choose from; the bar with sample and element.

const invariant = page.outputs.every(output => output.steps && !output.steps.length);
const WORDS = { PASS: "Passes", APPROXIMATE: "Approximate", FAIL: "Fails" };

function sentence(m) {
  const audit = models[m].audit,
    error = number(audit.error),
    group = page.contract.group,
    what = invariant ? "invariant" : "equivariant";
  const [low, high] = audit.interval.map(number),
    relative =
      error > 0.001
        ? `${percent(error)} of its size (95\u00a0%: ${short(100 * low, 3)} to ${short(100 * high, 3)})`
        : `${short(error)} of its size`;
  const change = invariant
    ? "moving the input changes the output by"
    : "the output for a moved input differs from the moved output by";
  if (audit.trivial) return "Says nothing: the output does not depend on the input, so every symmetry holds.";
  if (audit.verdict === "PASS")
    return `${what[0].toUpperCase() + what.slice(1)} under ${group}: ${change} ${relative}, within the tolerance of ${short(audit.tolerance)}.`;
  if (audit.verdict === "APPROXIMATE")
    return audit.bound !== null && error <= number(audit.bound)
      ? `Nearly ${what} under ${group}, as promised: ${change} ${relative}; the bound is ${short(audit.bound)}.`
      : `Not to be told from ${what} under ${group}: ${change} ${relative}, but moving between pixels alone makes an error of ${percent(number(audit.floor))}.`;
  return `Not ${what} under ${group}: ${change} ${relative}; the tolerance is ${short(audit.tolerance)}.`;
}

const unbroken = text => text.replace(/e-(\d)/g, "e\u2011$1");

function causes(m) {
  const told = models[m].audit.causes ?? [];
  if (!told.length) return [cause(m)].filter(Boolean);
  return told.map(one => [
    html("b", {}, `Likely ${one.name}`),
    `, because ${one.sentence.replace(/\.$/, "")}. `,
    html("b", {}, "Try: "),
    `${one.fix}.`.replace("..", "."),
  ]);
}
function cause(m) {
  const audit = models[m].audit,
    layer = audit.layers.find(one => one.name === audit.offender);
  if (audit.verdict === "PASS") return "";
  const none = audit.causes ? "None of the usual causes explains the error. " : "";
  if (layer)
    return `${none}The first layer above the floor is ${layer.name}, error ${short(layer.error)}${layer.cause ? `: ${layer.cause}` : ", which by itself breaks nothing; look at what comes before it"}.`;
  return audit.worst ? `The largest error is at ${audit.worst}: ${short(audit.worst_error)}.` : "";
}

function command(label, text) {
  if (!text) return null;
  const button = html("button", { type: "button", onclick: () => copy(text, `${label}: copied`, button) }, "copy");
  return html("div", { class: "command" }, html("span", {}, label), html("code", {}, text), button);
}

function drawVerdict() {
  const m = state.model,
    audit = models[m].audit,
    place = document.getElementById("verdict"),
    hidden = state.hidden.split(",").filter(Boolean);
  const chips = models.map((model, i) =>
    html(
      "li",
      {},
      html(
        "button",
        {
          type: "button",
          "aria-pressed": i === m,
          onclick: () => set({ model: i, hidden: hidden.filter(h => h !== String(i)).join(",") }),
        },
        swatch(i),
        model.name,
        html("span", { class: "soft" }, `${model.audit.verdict} ${short(model.audit.error)}`),
      ),
    ),
  );
  place.replaceChildren(
    ...[
      html("h1", {}, html("span", { class: `word ${audit.verdict}` }, `${WORDS[audit.verdict]}. `), unbroken(sentence(m))),
      models.length > 1 ? html("ul", { class: "models", "aria-label": "Models" }, chips) : null,
      ...causes(m).map(words => html("p", { class: `cause ${audit.verdict}` }, words)),
      html(
        "p",
        { class: "soft" },
        `Worst element ${audit.worst} (${short(audit.worst_error)}) · floor ${short(audit.floor)} · judged in ${audit.dtype} on ${audit.samples < count ? audit.samples : count} samples · ${page.contract.inputs} → ${page.contract.outputs}`,
      ),
      command("reproduce", models[m].command || page.command),
      command("next", models[m].next),
    ].filter(Boolean),
  );
}

function drawHead() {
  const themes = { auto: "dark", dark: "light", light: "auto" },
    stored = (() => {
      try {
        return localStorage.getItem("coset-theme");
      } catch {
        return null;
      }
    })();
  let theme = stored ?? "auto";
  const button = html("button", { type: "button" }),
    media = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    colors.clear();
    document.documentElement.dataset.theme = theme === "auto" ? (media.matches ? "dark" : "light") : theme;
    button.textContent = `theme: ${theme}`;
    try {
      localStorage.setItem("coset-theme", theme);
    } catch {
      /* a page on disk may keep nothing */
    }
    waiting.add("theme");
    set({});
    if (!frame) frame = requestAnimationFrame(flush);
  };
  button.addEventListener("click", () => {
    theme = themes[theme];
    apply();
  });
  media.addEventListener("change", apply);
  const pick =
    sent.parts &&
    html(
      "select",
      {
        "aria-label": "factor of the group",
        onchange: event => {
          location.hash = `#part=${event.target.value}`;
        },
      },
      sent.parts.map((one, i) => html("option", { value: i, selected: i === part }, one.contract.group)),
    );
  document
    .getElementById("top")
    .append(
      pick ?? "",
      html("span", { class: "grow" }, `coset audit · ${page.title || models.map(m => m.name).join(", ")}`),
      button,
    );
  apply();
}

// ------------------------------------------------------------------ the bar

function drawBar() {
  const pick = html("input", {
    type: "number",
    min: -1,
    max: count - 1,
    step: 1,
    "aria-label": "sample",
    oninput: event => {
      const s = Number(event.target.value);
      if (event.target.value !== "" && s >= -1 && s < count) set({ sample: Math.round(s) });
    },
  });
  const step = by => () =>
    set({
      sample:
        ((state.sample + by + count + 2) % (count + 1)) - 1 < -1 ? count - 1 : modulo(state.sample + 1 + by, count + 1) - 1,
    });
  const slides = grid.axes.map((axis, i) => {
    const range = html("input", {
      type: "range",
      min: 0,
      max: shape[i] - 1,
      step: 1,
      "aria-label": `element: ${axis.name}`,
      oninput: event => {
        const at = positions();
        at[i] = Number(event.target.value);
        stand(at);
      },
    });
    return { range, told: html("output", {}), axis };
  });
  const reading = html("div", { class: "reading", "aria-live": "off" });
  document.getElementById("bar").append(
    html(
      "label",
      {},
      "sample",
      html("button", { type: "button", "aria-label": "previous sample", onclick: step(-1) }, "‹"),
      pick,
      html("button", { type: "button", "aria-label": "next sample", onclick: step(1) }, "›"),
    ),
    html(
      "div",
      { class: "slides" },
      slides.map(slide =>
        html(
          "label",
          {},
          html(
            "span",
            { class: "axis" },
            slide.axis.kind === "element" && grid.axes.length === 1 ? "element" : slide.axis.name,
          ),
          slide.range,
          slide.told,
        ),
      ),
    ),
    reading,
  );
  const follow = () => {
    const at = positions(),
      s = state.sample,
      q = quantity(state.model),
      now = present();
    slides.forEach((slide, i) => {
      const label = Number.isInteger(at[i]) && !drawn() ? slide.axis.labels[at[i]] : (now?.name ?? "…");
      slide.range.value = at[i];
      slide.told.textContent = label;
      slide.told.title = label;
      slide.range.setAttribute("aria-valuetext", label);
    });
    if (document.activeElement !== pick) pick.value = s;
    const here = now && (s >= 0 || selection().length === count),
      measured = state.beyond || (q.name === "error" && (state.dtype || here));
    const value = measured
      ? now?.error
      : s >= 0
        ? individual(state.model, s)[state.element]
        : aggregate(state.model)[state.element];
    const which = s >= 0 ? `sample ${s}` : `mean of ${measured ? count : selection().length}`;
    reading.replaceChildren(
      html("b", { id: "reading" }, value === undefined ? "…" : short(value, 3)),
      html(
        "small",
        {},
        `${measured || q.name === "error" ? "relative error" : q.label}, ${which}${now && measured ? `, now${inDtype()}` : ""}`,
      ),
    );
  };
  watch(["element", "beyond", "heard", "sample", "model", "quantity", "brush", "keep", "cls", "dtype"], follow);
  follow();
}
