// SPDX-License-Identifier: Apache-2.0
// The plots. Each function draws into a box of the width it is given, from the data and the reader's choices.

const report = JSON.parse(document.getElementById("data").textContent);
const variants = [...report.variants].sort((a, b) => a.sparsity - b.sparsity || b.values.macs - a.values.macs);
const costOf = key => report.costs.find(c => c.key === key);
const referenceOf = () => report.variants.find(v => v.reference);

const choice = {
  cost: (report.costs.find(c => c.key.startsWith("latency-")) || report.costs[0]).key,
  accuracy: ["test", "validation", "train"].find(s => variants.some(v => s in v.accuracy)),
  log: false,
  metric: "validation_accuracy",
  variant: report.pick,
};

// The share of a colour ramp that level `i` of `n` takes; never so little that it fades into the surface.
const shade = (i, n) => `color-mix(in oklab, var(--high) ${Math.round(n < 2 ? 100 : 38 + (62 * i) / (n - 1))}%, var(--low))`;

function costLines(variant) {
  const lines = [["Test accuracy", percent(variant.accuracy.test)], ["Validation accuracy", percent(variant.accuracy.validation)]];
  for (const cost of report.costs) lines.push([cost.label, amount(variant.values[cost.key], cost.unit)]);
  lines.push(["Sparsity", `${(100 * variant.sparsity).toFixed(1)} %`]);
  if (variant.front) lines.push(["On the front", "yes"]);
  return lines;
}

const drawn = key => variants.filter(v => v.values[key] !== null && choice.accuracy in v.accuracy);

// Interquartile range around the median, in the cost's unit.
function reach(variant, key) {
  const m = variant.measurements[key];
  return m && m.spread ? (m.spread * m.value) / 2 : 0;
}

function dot(variant, x, y, r) {
  const kind = variant.front ? "dot front" : "dot";
  if (!variant.reference) return svg("circle", { class: kind, cx: x, cy: y, r });
  return svg("rect", { class: kind, x: x - r, y: y - r, width: 2 * r, height: 2 * r });
}

// The part of the front that no other variant beats in validation accuracy and this cost alone.
function bestHere(points, key) {
  const beats = (a, b) => a.accuracy.validation >= b.accuracy.validation && a.values[key] <= b.values[key] &&
    (a.accuracy.validation > b.accuracy.validation || a.values[key] < b.values[key]);
  return points.filter(p => p.variant.front && !points.some(q => beats(q.variant, p.variant))).sort((a, b) => a.x - b.x);
}

function frontLine(points, key) {
  return svg("polyline", { class: "front-line", points: bestHere(points, key).map(p => `${p.x},${p.y}`).join(" ") });
}

function thumbnail(cost) {
  const [width, height] = [150, 74];
  const shown = drawn(cost.key);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  if (!shown.length) return picture;
  const x = scaleFor(shown.map(v => v.values[cost.key]), 6, width - 6, { log: choice.log });
  const y = scaleFor(shown.map(v => v.accuracy[choice.accuracy]), height - 6, 6, { pad: 0.1 });
  const points = shown.map(v => ({ variant: v, x: x(v.values[cost.key]), y: y(v.accuracy[choice.accuracy]) }));
  picture.append(svg("path", { class: "base", fill: "none", d: `M1 2V${height - 1}H${width - 1}` }), frontLine(points, cost.key));
  for (const p of points) picture.append(dot(p.variant, p.x, p.y, 3.2));
  return picture;
}

function drawScatter(box, width) {
  const cost = costOf(choice.cost);
  const shown = drawn(choice.cost);
  const narrow = width < 520;
  const height = narrow ? 320 : 400;
  const edge = { left: 52, right: narrow ? 14 : 28, top: 26, bottom: 46 };
  const ends = shown.flatMap(v => [v.values[cost.key] - reach(v, cost.key), v.values[cost.key] + reach(v, cost.key)]);
  // From 0 unless all points would crowd into the right half.
  const zero = Math.min(...ends) < Math.max(...ends) / 2;
  const x = scaleFor(ends, edge.left, width - edge.right, { log: choice.log, count: narrow ? 4 : 7, zero, pad: 0.08 });
  const y = scaleFor(shown.map(v => v.accuracy[choice.accuracy]), height - edge.bottom, edge.top, { count: 6, pad: 0.12 });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group",
    "aria-label": `${choice.accuracy} accuracy against ${cost.label}, ${shown.length} variants` });
  gridLines(picture, x, y, { width, height, edge }, tickText(x.ticks, cost.unit), t => `${Number((100 * t).toFixed(2))} %`);
  const title = cost.label + (choice.log ? ", logarithmic" : "");
  picture.append(
    svg("text", { class: "axis-title", x: width - edge.right, y: height - 6, "text-anchor": "end" }, `${title} →`),
    svg("text", { class: "axis-title", x: 0, y: 12 }, `↑ ${choice.accuracy[0].toUpperCase()}${choice.accuracy.slice(1)} accuracy`));
  const points = shown.map(v => ({ variant: v, x: x(v.values[cost.key]), y: y(v.accuracy[choice.accuracy]) }));
  for (const p of points) {
    const half = reach(p.variant, cost.key);
    if (half) {
      const [from, to] = [x(Math.max(p.variant.values[cost.key] - half, 1e-12)), x(p.variant.values[cost.key] + half)];
      picture.append(svg("line", { class: p.variant.front ? "whisker front" : "whisker", x1: from, x2: to, y1: p.y, y2: p.y }));
    }
  }
  picture.append(frontLine(points, cost.key));
  for (const p of points) picture.append(point(p, cost));
  const bars = points.map(p => {
    const half = reach(p.variant, cost.key);
    const at = p.variant.values[cost.key];
    return { left: x(Math.max(at - half, 1e-12)) - 2, right: x(at + half) + 2, top: p.y - 2, bottom: p.y + 2 };
  });
  for (const l of placeNames(points, bars, bestHere(points, cost.key), width, height - edge.bottom)) {
    picture.append(svg("text", { class: l.front ? "name" : "name faint", x: l.x, y: l.y, "pointer-events": "none" }, l.text));
  }
  box.replaceChildren(picture);
}

function point(p, cost) {
  const v = p.variant;
  const says = `${v.name}: ${choice.accuracy} accuracy ${percent(v.accuracy[choice.accuracy])}, ${cost.label} ` +
    `${amount(v.values[cost.key], cost.unit)}${v.front ? ", on the front" : ""}`;
  const chosen = v.id === choice.variant;
  const group = svg("g", { class: "point", tabindex: "0", role: "button", "aria-label": says, "aria-pressed": String(chosen), "data-id": v.id });
  if (chosen) group.append(svg("circle", { class: "ring", cx: p.x, cy: p.y, r: 11 }));
  group.append(dot(v, p.x, p.y, 6), svg("circle", { class: "target", cx: p.x, cy: p.y, r: 14 }));
  explain(group, v.name, () => costLines(v), () => choose(v.id));
  return group;
}

// Names beside their points where there is room; names of the front come first.
function placeNames(points, bars, line, width, floor) {
  const around = (p, r) => ({ left: p.x - r, right: p.x + r, top: p.y - r, bottom: p.y + r });
  const taken = [...bars, ...points.map(p => around(p, p.variant.id === choice.variant ? 11.5 : 8)), ...along(line).map(p => around(p, 1))];
  const free = b => b.left >= 54 && b.right <= width && b.top >= 14 && b.bottom <= floor &&
    taken.every(t => b.right < t.left || b.left > t.right || b.bottom < t.top || b.top > t.bottom);
  const placed = [];
  for (const p of [...points].sort((a, b) => b.variant.front - a.variant.front)) {
    const text = shorten(p.variant.name, 130);
    const w = textWidth(text);
    const spots = [[p.x + 13, p.y + 4], [p.x - w - 13, p.y + 4], [p.x - w / 2, p.y - 15], [p.x - w / 2, p.y + 23],
      [p.x + 10, p.y + 17], [p.x + 10, p.y - 10], [p.x - w - 10, p.y - 10], [p.x - w - 10, p.y + 17]];
    const spot = spots.find(([x, y]) => free({ left: x, right: x + w, top: y - 10, bottom: y + 3 }));
    if (!spot) continue;
    const [x, y] = spot;
    taken.push({ left: x, right: x + w, top: y - 10, bottom: y + 3 });
    placed.push({ x, y, text, front: p.variant.front });
  }
  return placed;
}

// Points every few pixels along the line that joins points.
function along(line) {
  return line.slice(1).flatMap((b, i) => {
    const a = line[i];
    const steps = Math.ceil(Math.hypot(b.x - a.x, b.y - a.y) / 6) || 1;
    return Array.from({ length: steps }, (_, k) => ({ x: a.x + ((b.x - a.x) * k) / steps, y: a.y + ((b.y - a.y) * k) / steps }));
  });
}

function gridLines(picture, x, y, { width, height, edge }, sayX, sayY) {
  const floor = height - edge.bottom;
  for (const t of y.ticks) {
    picture.append(svg("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(t), y2: y(t) }),
      svg("text", { x: edge.left - 8, y: y(t) + 4, "text-anchor": "end" }, sayY(t)));
  }
  picture.append(svg("line", { class: "base", x1: edge.left, x2: width - edge.right, y1: floor, y2: floor }));
  let last = -Infinity;
  for (const t of x.ticks) {
    const text = sayX(t);
    const half = textWidth(text) / 2;
    if (x(t) - half < last + 8 || x(t) + half > width) continue;
    last = x(t) + half;
    picture.append(svg("line", { class: "base", x1: x(t), x2: x(t), y1: floor, y2: floor + 4 }),
      svg("text", { x: x(t), y: floor + 18, "text-anchor": "middle" }, text));
  }
}

const widthOf = (variant, layer) => variant.widths[layer] || 0;

function drawHeat(box, width) {
  const base = referenceOf();
  const names = variants.map(v => shorten(v.name, width < 520 ? 70 : 130));
  const left = Math.ceil(Math.max(...names.map(n => textWidth(n, 600)))) + 12;
  const [rowHeight, top] = [24, 20];
  const cell = (width - left) / Math.max(1, report.layers.length);
  const gap = cell > 6 ? 1 : 0;
  const height = top + rowHeight * variants.length + 4;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Share of channels kept, by variant and layer" });
  picture.append(svg("text", { x: left, y: 12 }, width < 520 ? "input" : "← input"),
    svg("text", { x: width, y: 12, "text-anchor": "end" }, width < 520 ? "output" : "output →"));
  variants.forEach((v, i) => {
    const y = top + i * rowHeight;
    const chosen = v.id === choice.variant;
    const row = svg("g", { class: "row", tabindex: "0", role: "button", "aria-pressed": String(chosen), "data-id": v.id,
      "aria-label": `${v.name}: ${sum(v)} channels in all, of ${sum(base)}` });
    row.append(svg("text", { class: chosen ? "name" : "name faint", x: left - 10, y: y + 16, "text-anchor": "end", ...(chosen ? { "font-weight": 700 } : {}) }, names[i]));
    report.layers.forEach((layer, j) => {
      const share = widthOf(base, layer) ? widthOf(v, layer) / widthOf(base, layer) : 0;
      const block = svg("rect", { x: left + j * cell, y: y + 1, width: Math.max(0.5, cell - gap), height: rowHeight - 3 });
      block.style.fill = `color-mix(in oklab, var(--high) ${Math.round(100 * Math.min(1, share))}%, var(--low))`;
      block.addEventListener("pointermove", event => {
        event.stopPropagation();
        showTip(v.name, [[layer, `${widthOf(v, layer)} of ${widthOf(base, layer)}`]], event.clientX, event.clientY);
      });
      row.append(block);
    });
    const frame = svg("rect", { class: "target", x: left - 1, y, width: width - left, height: rowHeight - 1, "pointer-events": "none" });
    if (chosen) frame.setAttribute("class", "ring");
    row.append(frame);
    row.addEventListener("pointerleave", hideTip);
    row.addEventListener("blur", hideTip);
    row.addEventListener("click", () => choose(v.id));
    row.addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(v.id); } });
    picture.append(row);
  });
  box.replaceChildren(picture);
}

const sum = variant => Object.values(variant.widths).reduce((a, b) => a + b, 0);

function drawBars(list) {
  const base = referenceOf();
  const v = variants.find(x => x.id === choice.variant);
  const most = Math.max(1, ...report.layers.map(l => widthOf(base, l)));
  list.replaceChildren(...report.layers.map(layer => {
    const [now, full] = [widthOf(v, layer), Math.max(widthOf(base, layer), widthOf(v, layer))];
    const fill = html("i");
    fill.style.width = `${full ? (100 * now) / full : 0}%`;
    const track = html("span", { class: "track", "aria-hidden": "true" }, fill);
    track.style.width = `${(100 * full) / most}%`;
    const name = html("span", { title: layer }, html("bdi", {}, layer));
    return html("li", {}, name, track, html("span", {}, now === full ? String(now) : `${now} of ${full}`));
  }));
}

const METRICS = {
  validation_accuracy: ["Validation accuracy", percent],
  accuracy: ["Training accuracy", percent],
  loss: ["Training loss", v => significant(v)],
  lr: ["Learning rate", v => String(Number(v.toPrecision(3)))],
};
const metricsFound = () => Object.keys(METRICS).filter(m => variants.some(v => v.curve.some(r => Number.isFinite(r[m]))));

function drawCurves(box, width) {
  const [label, say] = METRICS[choice.metric];
  const lines = variants.map((v, i) => ({ variant: v, colour: shade(i, variants.length),
    rows: v.curve.filter(r => Number.isFinite(r[choice.metric]) && Number.isFinite(r.epoch)) })).filter(l => l.rows.length);
  const narrow = width < 520;
  const names = lines.map(l => shorten(l.variant.name, narrow ? 70 : 130));
  const edge = { left: 56, right: Math.ceil(Math.max(0, ...names.map(n => textWidth(n, 700)))) + 16, top: 26, bottom: 44 };
  const height = Math.max(narrow ? 300 : 340, 80 + 15 * lines.length);
  const all = lines.flatMap(l => l.rows);
  const epochs = [...new Set(all.map(r => r.epoch))].sort((a, b) => a - b);
  const x = scaleFor(epochs, edge.left + 8, width - edge.right, { count: narrow ? 4 : 8, pad: epochs.length > 1 ? 0 : 0.5 });
  x.ticks = x.ticks.filter(Number.isInteger);
  const y = scaleFor(all.map(r => r[choice.metric]), height - edge.bottom, edge.top, { count: 6 });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0",
    "aria-label": `${label} by epoch, ${lines.length} variants; left and right arrows read the epochs` });
  const sayTick = choice.metric.includes("accuracy") ? t => `${Number((100 * t).toFixed(2))} %` : t => String(Number(t.toPrecision(6)));
  gridLines(picture, x, y, { width, height, edge }, String, sayTick);
  picture.append(svg("text", { class: "axis-title", x: width - edge.right, y: height - 6, "text-anchor": "end" }, "Epoch →"),
    svg("text", { class: "axis-title", x: 0, y: 12 }, `↑ ${label}`));
  const chosenShown = lines.some(l => l.variant.id === choice.variant);
  for (const line of lines) {
    const chosen = line.variant.id === choice.variant;
    const path = svg("polyline", { class: "curve", points: line.rows.map(r => `${x(r.epoch)},${y(r[choice.metric])}`).join(" "), "data-id": line.variant.id });
    path.style.stroke = chosen ? "var(--chosen)" : line.colour;
    if (chosen) path.style.strokeWidth = 3;
    picture.append(path);
    if (line.rows.length === 1 || epochs.length < 12) {
      for (const r of line.rows) {
        const d = svg("circle", { cx: x(r.epoch), cy: y(r[choice.metric]), r: chosen ? 4 : 3 });
        d.style.fill = chosen ? "var(--chosen)" : line.colour;
        picture.append(d);
      }
    }
  }
  if (chosenShown) picture.append(...picture.querySelectorAll(`[data-id="${choice.variant}"]`));
  const ends = lines.map((l, i) => {
    const last = l.rows[l.rows.length - 1];
    return { name: names[i], id: l.variant.id, x: x(last.epoch), y: y(last[choice.metric]), at: y(last[choice.metric]) };
  });
  spreadOut(ends, 14, edge.top, height - edge.bottom);
  for (const e of ends) {
    const chosen = e.id === choice.variant;
    if (Math.abs(e.at - e.y) > 5) {
      picture.append(svg("path", { class: "grid", fill: "none", d: `M${e.x + 3} ${e.y}L${width - edge.right + 9} ${e.at}` }));
    }
    picture.append(svg("text", { class: chosen ? "name" : "name faint", ...(chosen ? { "font-weight": 700 } : {}), x: width - edge.right + 11, y: e.at + 4 }, e.name));
  }
  readEpochs(picture, lines, epochs, x, say, height - edge.bottom, edge.top);
  box.replaceChildren(picture);
}

// Push labels apart until they are `room` pixels from each other, inside [top, bottom].
function spreadOut(labels, room, top, bottom) {
  labels.sort((a, b) => a.at - b.at);
  for (let i = 1; i < labels.length; i += 1) labels[i].at = Math.max(labels[i].at, labels[i - 1].at + room);
  let limit = bottom;
  for (let i = labels.length - 1; i >= 0; i -= 1) { labels[i].at = Math.max(top, Math.min(labels[i].at, limit)); limit = labels[i].at - room; }
}

function readEpochs(picture, lines, epochs, x, say, floor, top) {
  const cursor = svg("line", { class: "cursor", y1: top, y2: floor, visibility: "hidden" });
  picture.append(cursor);
  let at = epochs.length - 1;
  const show = (clientX, clientY) => {
    const epoch = epochs[at];
    cursor.setAttribute("x1", x(epoch));
    cursor.setAttribute("x2", x(epoch));
    cursor.setAttribute("visibility", "visible");
    const rows = lines.map(l => [l.variant.name, l.rows.find(r => r.epoch === epoch)]).filter(([, r]) => r);
    showTip(`Epoch ${epoch}`, rows.map(([name, r]) => [name, say(r[choice.metric])]), clientX, clientY);
  };
  const hide = () => { cursor.setAttribute("visibility", "hidden"); hideTip(); };
  const zoom = () => picture.getBoundingClientRect().width / picture.viewBox.baseVal.width;
  picture.addEventListener("pointermove", event => {
    const inside = (event.clientX - picture.getBoundingClientRect().left) / zoom();
    at = epochs.reduce((best, e, i) => (Math.abs(x(e) - inside) < Math.abs(x(epochs[best]) - inside) ? i : best), 0);
    show(event.clientX, event.clientY);
  });
  picture.addEventListener("pointerleave", hide);
  picture.addEventListener("blur", hide);
  picture.addEventListener("keydown", event => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    at = Math.min(epochs.length - 1, Math.max(0, at + step));
    const place = picture.getBoundingClientRect();
    show(place.left + x(epochs[at]) * zoom(), place.top + place.height / 3);
  });
}
