// Tensors of the page: {shape, data}, decoded from base64; a tensor without axes holds one number.

const READERS = { f8: Float64Array, f4: Float32Array, u1: Uint8Array, u2: Uint16Array, i4: Int32Array };

function bytesOf(text) {
  const raw = atob(text),
    bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes.buffer;
}

// Half precision: all 65536 values in one table, made when first needed.
let halves = null;
function halfTable() {
  if (halves) return halves;
  halves = new Float32Array(65536);
  for (let h = 0; h < 65536; h++) {
    const sign = h & 0x8000 ? -1 : 1,
      exponent = (h >> 10) & 31,
      mantissa = h & 1023;
    if (exponent === 0) halves[h] = sign * mantissa * 2 ** -24;
    else if (exponent === 31) halves[h] = mantissa ? NaN : sign * Infinity;
    else halves[h] = sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
  }
  return halves;
}

// {t, s, d, k?} as written by coset.report.audit_payload.pack
function decode(told) {
  if (!told) return null;
  if (told.cache) return told.cache;
  const buffer = bytesOf(told.d);
  let data;
  if (told.t === "f2") {
    const table = halfTable(),
      codes = new Uint16Array(buffer),
      scale = told.k ?? 1;
    data = new Float64Array(codes.length);
    for (let i = 0; i < codes.length; i++) data[i] = table[codes[i]] * scale;
  } else {
    data = new READERS[told.t](buffer);
  }
  Object.defineProperty(told, "cache", { value: { shape: told.s, data } });
  return told.cache;
}

const product = shape => shape.reduce((a, b) => a * b, 1);
const tensor = (shape, data) => ({ shape, data: data ?? new Float64Array(product(shape)) });
const wide = x => tensor(x.shape, Float64Array.from(x.data));

// Row i along the first axis.
function row(x, i) {
  const size = product(x.shape.slice(1));
  return tensor(x.shape.slice(1), x.data.subarray(i * size, (i + 1) * size));
}

const plus = (a, b) =>
  tensor(
    a.shape,
    Float64Array.from(a.data, (v, i) => v + b.data[i]),
  );

function norm(x) {
  let sum = 0;
  for (const v of x.data) sum += v * v;
  return Math.sqrt(sum);
}

// Numbers that JSON does not know come as "nan", "inf", "-inf".
function number(value) {
  if (typeof value !== "string") return value;
  return value === "inf" ? Infinity : value === "-inf" ? -Infinity : NaN;
}
