// The action of an element on a tensor, by the formulas of coset.reps: the same numbers as Python's, to rounding.

// g_k . x: the steps one after the other; start is where a sample's entries stand in the whole batch.
function move(steps, k, x, start = 0) {
  return steps.reduce((value, step) => ACTIONS[step.type](step, k, value, start), x);
}

const ACTIONS = {
  image(step, k, x) {
    const A = row(decode(step.A), k).data,
      b = row(decode(step.b), k).data;
    const moved = resample(x, A, b, step.size, step.mode);
    return step.disc ? masked(moved) : moved;
  },
  roll(step, k, x) {
    const [down, right] = row(decode(step.steps), k).data;
    return shiftAxis(shiftAxis(x, x.shape.length - 1, right, true), x.shape.length - 2, down, true);
  },
  sequence(step, k, x) {
    const axis = x.shape.length - 1,
      back = decode(step.back).data[k];
    return shiftAxis(back ? flipAxis(x, axis) : x, axis, decode(step.steps).data[k], step.periodic);
  },
  linear(step, k, x) {
    return linear(x, row(decode(step.A), k), step.b && row(decode(step.b), k).data, step.inner);
  },
  permute(step, k, x, start) {
    const p = row(decode(step.p), k).data;
    if (step.relabel)
      return tensor(
        x.shape,
        Float64Array.from(x.data, v => p[v + start] - start),
      );
    return takeAxis(x, x.shape.length + step.axis, i => p[i + start] - start);
  },
};

// outer x length x inner: how an axis lies in memory.
function strides(x, axis) {
  return [product(x.shape.slice(0, axis)), x.shape[axis], product(x.shape.slice(axis + 1))];
}

function takeAxis(x, axis, source) {
  const [outer, length, inner] = strides(x, axis),
    out = tensor(x.shape);
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < length; i++) {
      const from = source(i);
      if (from < 0 || from >= length) continue;
      for (let j = 0; j < inner; j++) out.data[(o * length + i) * inner + j] = x.data[(o * length + from) * inner + j];
    }
  return out;
}

const flipAxis = (x, axis) => takeAxis(x, axis, i => x.shape[axis] - 1 - i);
const modulo = (a, n) => ((a % n) + n) % n;

// y[i] = x[i - steps]; fractions by the Fourier series of a circle, by linear interpolation on a line.
function shiftAxis(x, axis, steps, periodic) {
  const length = x.shape[axis],
    whole = Math.round(steps);
  const by = n => takeAxis(x, axis, i => (periodic ? modulo(i - n, length) : i - n));
  if (Math.abs(steps - whole) <= 1e-9) return by(whole);
  if (!periodic) {
    const low = Math.floor(steps),
      share = steps - low,
      a = by(low),
      b = by(low + 1);
    return tensor(
      x.shape,
      a.data.map((v, i) => (1 - share) * v + share * b.data[i]),
    );
  }
  const kernel = Float64Array.from({ length }, (_, n) => fourierKernel(n, steps, length));
  const [outer, , inner] = strides(x, axis),
    out = tensor(x.shape);
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < length; i++)
      for (let m = 0; m < length; m++) {
        const weight = kernel[modulo(i - m, length)];
        for (let j = 0; j < inner; j++) out.data[(o * length + i) * inner + j] += weight * x.data[(o * length + m) * inner + j];
      }
  return out;
}

function fourierKernel(n, steps, length) {
  let sum = 1;
  for (let f = 1; f < length / 2; f++) sum += 2 * Math.cos((2 * Math.PI * f * (n - steps)) / length);
  if (length % 2 === 0) sum += Math.cos(Math.PI * steps) * (n % 2 ? -1 : 1);
  return sum / length;
}

// A x + b on trailing axes that hold d numbers, the last `inner` axes standing aside.
function linear(x, A, b, inner) {
  const d = A.shape[0],
    lanes = product(x.shape.slice(x.shape.length - inner)),
    outer = x.data.length / (d * lanes);
  const out = tensor(x.shape);
  for (let o = 0; o < outer; o++)
    for (let j = 0; j < lanes; j++)
      for (let i = 0; i < d; i++) {
        let sum = b ? b[i] : 0;
        for (let m = 0; m < d; m++) sum += A.data[i * d + m] * x.data[(o * d + m) * lanes + j];
        out.data[(o * d + i) * lanes + j] = sum;
      }
  return out;
}

// ------------------------------------------------------------------ images

// The content moved by p -> A p + t, x to the right and y up, both from -1 to 1 across the image's edges.
function resample(x, A, t, size, mode) {
  const [h, w] = x.shape.slice(-2),
    [height, width] = size ?? [h, w];
  const code = signedPermutation(A, t);
  if (!code) return interpolate(x, A, t, height, width, mode);
  const upright = height === h && width === w ? x : interpolate(x, [1, 0, 0, 1], [0, 0], height, width, mode);
  return turn(upright, code);
}

function signedPermutation(A, t) {
  const whole = Array.from(A, Math.round),
    near = whole.every((v, i) => Math.abs(A[i] - v) <= 1e-9);
  const size = v => Math.abs(v);
  const ones = [
    [0, 1],
    [2, 3],
    [0, 2],
    [1, 3],
  ].every(([i, j]) => size(whole[i]) + size(whole[j]) === 1);
  return near && ones && Array.from(t).every(v => size(v) <= 1e-9) ? whole : null;
}

// [[a, b], [c, d]] as flips and a transposition of the array.
function turn(x, [a, b, c, d]) {
  const last = x.shape.length - 1;
  const flips = a
    ? [
        [last, a < 0],
        [last - 1, d < 0],
      ]
    : [
        [last - 1, c > 0],
        [last, b > 0],
      ];
  return flips.reduce((value, [axis, flip]) => (flip ? flipAxis(value, axis) : value), a ? x : transposed(x));
}

function transposed(x) {
  const [h, w] = x.shape.slice(-2),
    lead = x.shape.slice(0, -2),
    out = tensor([...lead, w, h]);
  for (let c = 0; c < product(lead); c++)
    for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) out.data[(c * w + j) * h + i] = x.data[(c * h + i) * w + j];
  return out;
}

// Samples at A^-1 (p - t); rows of the array run downwards, hence the signs.
function interpolate(x, A, t, height, width, mode) {
  const [h, w] = x.shape.slice(-2),
    lead = x.shape.slice(0, -2),
    channels = product(lead),
    out = tensor([...lead, height, width]);
  const det = A[0] * A[3] - A[1] * A[2],
    back = [A[3] / det, -A[1] / det, -A[2] / det, A[0] / det],
    taps = TAPS[mode];
  for (let i = 0; i < height; i++)
    for (let j = 0; j < width; j++) {
      const right = (2 * j + 1) / width - 1 - t[0],
        up = 1 - (2 * i + 1) / height - t[1];
      const columns = taps(((back[0] * right + back[1] * up + 1) * w - 1) / 2),
        rows = taps(((1 - back[2] * right - back[3] * up) * h - 1) / 2);
      for (const [m, weight] of rows)
        if (m >= 0 && m < h)
          for (const [n, share] of columns)
            if (n >= 0 && n < w)
              for (let c = 0; c < channels; c++)
                out.data[(c * height + i) * width + j] += weight * share * x.data[(c * h + m) * w + n];
    }
  return out;
}

// Places and weights along one axis.
const TAPS = {
  nearest(at) {
    const low = Math.floor(at),
      rest = at - low;
    return [[rest === 0.5 ? low + modulo(low, 2) : Math.round(at), 1]];
  },
  bilinear(at) {
    const low = Math.floor(at),
      share = at - low;
    return [
      [low, 1 - share],
      [low + 1, share],
    ];
  },
  bicubic(at) {
    const low = Math.floor(at),
      s = at - low,
      a = -0.75;
    const near = v => ((a + 2) * v - (a + 3)) * v * v + 1,
      far = v => ((a * v - 5 * a) * v + 8 * a) * v - 4 * a;
    return [
      [low - 1, far(s + 1)],
      [low, near(s)],
      [low + 1, near(1 - s)],
      [low + 2, far(2 - s)],
    ];
  },
};

// 1 inside the inscribed disc, 0 outside, with a ramp one pixel wide.
function masked(x) {
  const [h, w] = x.shape.slice(-2),
    out = tensor(x.shape),
    plane = h * w;
  for (let p = 0; p < plane; p++) {
    const i = Math.floor(p / w),
      j = p % w,
      radius = Math.hypot((2 * j + 1 - w) / w, (2 * i + 1 - h) / h);
    const weight = Math.min(1, Math.max(0, ((1 - radius) * Math.min(h, w)) / 2 + 0.5));
    for (let c = 0; c < x.data.length / plane; c++) out.data[c * plane + p] = x.data[c * plane + p] * weight;
  }
  return out;
}
