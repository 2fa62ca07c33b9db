// SPDX-License-Identifier: Apache-2.0
// Numbers and the three charts over time.
const SPAN = 300;

const known = value => value !== null && value !== undefined;

// Three significant digits without an exponent.
function significant(value) {
  if (!known(value)) return NOTHING;
  if (value === 0) return "0";
  if (Math.abs(value) >= 1000) return count(value);
  const exponent = Number(value.toExponential(2).split("e")[1]);
  return value.toFixed(Math.min(6, Math.max(0, 2 - exponent)));
}

const count = value => (known(value) ? Math.round(value).toLocaleString("en").replaceAll(",", "\u202f") : NOTHING);
const ms = value => (known(value) ? `${significant(value)} ms` : NOTHING);
const percent = value => (known(value) ? `${(100 * value).toFixed(value >= 0.9995 || value === 0 ? 0 : value < 0.01 ? 2 : 1)} %` : NOTHING);

function bytes(value) {
  if (!known(value)) return NOTHING;
  let place = 0;
  while (value >= 999.5 && place < 3) { value /= 1000; place += 1; }
  return `${significant(value)} ${["B", "kB", "MB", "GB"][place]}`;
}

function ago(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 100) return `${s} s ago`;
  if (s < 6000) return `${Math.round(s / 60)} min ago`;
  return `${Math.round(s / 3600)} h ago`;
}

// The smallest of 1, 2, 5 times a power of ten that is not below a value: the top of an axis.
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find(m => m * power >= value * 0.9999);
}

// The frame of one chart: x is seconds before now, y what the caller draws.
function frame(box, height, left) {
  const width = Math.max(260, box.clientWidth);
  const right = width - 6, bottom = height - 20;
  const x = seconds => right - (right - left) * Math.min(seconds, SPAN) / SPAN;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  const step = width < 500 ? 100 : 60;
  for (let s = 0; s <= SPAN; s += step) {
    picture.append(svg("line", { class: "grid", x1: x(s), x2: x(s), y1: 4, y2: bottom }));
    const anchor = s === 0 ? "end" : s === SPAN ? "start" : "middle";
    const words = s === 0 ? "now" : step === 60 ? `${s / 60} min` : `${s} s`;
    picture.append(svg("text", { x: x(s), y: height - 5, "text-anchor": anchor }, words));
  }
  return { picture, x, left, right, bottom, width };
}

// A line with gaps where nothing is known.
function path(points) {
  let text = "", pen = "M";
  for (const [x, y] of points) {
    if (y === null) { pen = "M"; continue; }
    text += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  }
  return text;
}

// Lines over the last five minutes. lines: [class, key]; mark: {value, label} of a horizontal line.
function chart(box, history, now, lines, unit, label, mark) {
  const at = frame(box, 150, 46);
  const values = history.flatMap(h => lines.map(([, key]) => h[key])).filter(known);
  const most = Math.max(...values, 0);
  const shown = mark && (most === 0 || mark.value <= 4 * most) ? mark.value : 0;
  const high = ceiling(Math.max(most * 1.05, shown * 1.15));
  const y = v => at.bottom - (at.bottom - 10) * v / high;
  for (const v of [0, high / 2, high]) {
    at.picture.append(svg("line", { class: v ? "grid" : "base", x1: at.left, x2: at.right, y1: y(v), y2: y(v) }));
    const text = `${Number(v.toPrecision(3))}${unit ? " " + unit : ""}`;
    at.picture.append(svg("text", { x: at.left - 6, y: y(v) + 4, "text-anchor": "end" }, text));
  }
  for (const [style, key] of lines) {
    const points = history.map(h => [at.x(now - h.time_s), known(h[key]) ? y(h[key]) : null]);
    at.picture.append(svg("path", { class: `line ${style}`, d: path(points) }));
  }
  if (shown) {
    at.picture.append(svg("path", { class: "deadline", d: `M${at.left} ${y(shown)}H${at.right}` }));
    at.picture.append(svg("text", { class: "warm", x: at.left + 6, y: y(shown) - 5 }, mark.label));
  } else if (mark) {
    at.picture.append(svg("text", { class: "warm", x: at.left + 6, y: 14 }, `${mark.label}, above this scale`));
  }
  at.picture.setAttribute("aria-label", label);
  box.replaceChildren(at.picture);
  return at;
}

// Which variant was active when: one lane each, the most accurate on top.
function lanes(box, history, now, variants) {
  const names = variants.map(v => v.name).reverse();
  const longest = Math.max(...names.map(n => n.length));
  const left = Math.min(150, Math.max(46, 10 + 7.6 * longest));
  const at = frame(box, 20 * names.length + 24, left);
  const fits = Math.max(3, Math.floor((left - 10) / 7.6));
  names.forEach((name, row) => {
    const y = 20 * row + 2;
    const short = name.length > fits ? `${name.slice(0, fits - 1)}…` : name;
    at.picture.append(svg("rect", { class: "lane", x: left, y: y + 2, width: at.right - left, height: 14 }));
    const text = svg("text", { x: left - 6, y: y + 13, "text-anchor": "end" }, short);
    if (history.length && history.at(-1).active === name) text.setAttribute("class", "strong");
    at.picture.append(text);
  });
  for (let i = 0; i < history.length; ) {
    let end = i;
    while (end + 1 < history.length && history[end + 1].active === history[i].active) end += 1;
    const row = names.indexOf(history[i].active);
    const from = at.x(now - history[i].time_s + 1), to = at.x(now - history[end].time_s);
    if (row >= 0) {
      at.picture.append(svg("rect", { class: "run", x: from, y: 20 * row + 4, width: Math.max(1, to - from), height: 14 }));
    }
    i = end + 1;
  }
  const last = history.length ? history.at(-1).active : "none";
  at.picture.setAttribute("aria-label", `Active variant over five minutes; at the end ${last}`);
  box.replaceChildren(at.picture);
  return at;
}
