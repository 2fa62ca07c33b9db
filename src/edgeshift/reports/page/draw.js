// SPDX-License-Identifier: Apache-2.0
// Numbers, scales, tips and widths of text.
const BYTES = ["B", "kB", "MB", "GB", "TB"];
const COUNTS = ["", "k", "M", "G", "T"];

// Three significant digits without an exponent, as reports/words.py writes them.
function significant(value) {
  if (value === 0) return "0";
  const exponent = Number(value.toExponential(2).split("e")[1]);
  return value.toFixed(Math.min(100, Math.max(0, 2 - exponent)));
}

function scaled(value, steps) {
  let place = 0;
  while (Math.abs(value) >= 999.5 && place + 1 < steps.length) { value /= 1000; place += 1; }
  const text = place === 0 && Number.isInteger(value) ? String(value) : significant(value);
  return `${text} ${steps[place]}`.trim();
}

function amount(value, unit) {
  if (value === null || value === undefined) return NOTHING;
  if (unit === "bytes") return scaled(value, BYTES);
  if (unit === "" || unit === "MACs") return scaled(value, COUNTS);
  return `${significant(value)} ${unit}`;
}

// Ticks share one scale and carry no trailing zeros: `0, 0.5, 1, 1.5 ms`.
function tickText(ticks, unit) {
  const steps = unit === "bytes" ? BYTES : unit === "" || unit === "MACs" ? COUNTS : null;
  if (!steps) return t => `${Number(t.toPrecision(6))} ${unit}`;
  const most = Math.max(1, ...ticks.map(Math.abs));
  const place = Math.min(steps.length - 1, Math.floor(Math.log10(most) / 3 + 1e-9));
  return t => `${Number((t / 1000 ** place).toPrecision(6))} ${steps[place]}`.trim();
}

const percent = value => (value === null || value === undefined ? NOTHING : `${(100 * value).toFixed(2)} %`);

// Ticks at 1, 2 or 5 times a power of ten; about `count` of them inside [low, high].
function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(m => m * power >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high, count) {
  const ticks = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p += 1) {
    for (const m of [1, 2, 5]) ticks.push(Number((m * 10 ** p).toPrecision(12)));
  }
  const inside = ticks.filter(t => t >= low && t <= high);
  if (inside.length < 2) return linearTicks(low, high, count).filter(t => t > 0);
  if (inside.length <= count) return inside;
  const tens = inside.filter(t => Number.isInteger(Math.round(Math.log10(t) * 1e9) / 1e9));
  if (tens.length < 2) return inside;
  const every = Math.ceil(tens.length / Math.max(1, count));
  return tens.filter((_, i) => i % every === 0);
}

// A function from values to pixels, with the ticks it should show.
function scaleFor(values, from, to, { log = false, count = 5, zero = false, pad = 0.06 } = {}) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  const useLog = log && low > 0;
  const forward = useLog ? Math.log : v => v;
  const back = useLog ? Math.exp : v => v;
  if (zero && !useLog) low = Math.min(0, low);
  let a = forward(low);
  let b = forward(high);
  const room = (b - a || Math.abs(b) || 1) * pad;
  a = zero && !useLog && low === 0 ? a : a - room;
  b += room;
  const scale = value => from + ((forward(value) - a) / (b - a)) * (to - from);
  scale.ticks = useLog ? logTicks(back(a), back(b), count) : linearTicks(a, b, count);
  return scale;
}

const tip = document.getElementById("tip");

// The tip says what `lines` ([label, value] pairs) say, beside the point (x, y) of the window.
function showTip(title, lines, x, y) {
  tip.replaceChildren(html("b", {}, title), ...lines.map(([k, v]) => html("div", {}, html("span", {}, k), html("span", {}, v))));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 14 + box.width > innerWidth - 6 ? x - 14 - box.width : x + 14;
  const top = y + 14 + box.height > innerHeight - 6 ? y - 14 - box.height : y + 14;
  tip.style.left = `${Math.min(Math.max(6, left), Math.max(6, innerWidth - box.width - 6))}px`;
  tip.style.top = `${Math.max(6, top)}px`;
}

function hideTip() { tip.hidden = true; }

// Pointer, touch and keyboard lead to the same tip and the same choice.
function explain(node, title, lines, choose) {
  const at = event => (event.clientX || event.clientY ? [event.clientX, event.clientY] : centre(node));
  const show = event => showTip(title, lines(), ...at(event));
  for (const kind of ["pointerenter", "pointermove"]) node.addEventListener(kind, show);
  node.addEventListener("focus", () => showTip(title, lines(), ...centre(node)));
  node.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") hideTip(); });
  node.addEventListener("blur", hideTip);
  if (!choose) return;
  node.addEventListener("click", event => { choose(); show(event); });
  node.addEventListener("keydown", event => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose();
  });
}

function centre(node) {
  const box = node.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
}

// The width of rendered text; measured, because fonts differ between machines.
const ruler = document.createElement("canvas").getContext("2d");
function textWidth(text, weight = 400) {
  ruler.font = `${weight} 12px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

function shorten(text, room) {
  if (textWidth(text) <= room) return text;
  let cut = text.length;
  while (cut > 1 && textWidth(`${text.slice(0, cut)}…`) > room) cut -= 1;
  return `${text.slice(0, cut)}…`;
}
