// SPDX-License-Identifier: Apache-2.0
// The reader's choices: what is on the axes, which variant is marked, how the table is sorted.

window.addEventListener("error", event => {
  const box = document.getElementById("broken");
  box.hidden = false;
  box.textContent = `A plot could not be drawn: ${event.message}`;
});

const byId = id => document.getElementById(id);

function radios(field, options, current, take) {
  options.forEach(([value, label]) => {
    const input = html("input", { type: "radio", name: field.id, value });
    input.checked = value === current;
    input.addEventListener("change", () => { take(value); draw(); });
    field.append(html("label", {}, input, html("span", {}, label)));
  });
  field.hidden = options.length < 2;
}

function choose(id) {
  choice.variant = id;
  draw(document.activeElement);
}

function key(kind, text) {
  const mark = svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" });
  if (kind === "reference") mark.append(svg("rect", { class: "dot", x: 2, y: 2, width: 10, height: 10 }));
  if (kind === "front") mark.append(svg("circle", { class: "dot front", cx: 7, cy: 7, r: 6 }));
  if (kind === "rest") mark.append(svg("circle", { class: "dot", cx: 7, cy: 7, r: 5 }));
  if (kind === "chosen") mark.append(svg("circle", { class: "ring", cx: 7, cy: 7, r: 6 }));
  if (kind === "whisker") mark.append(svg("line", { class: "whisker", x1: 0, x2: 14, y1: 7, y2: 7 }));
  return html("span", { class: "key" }, mark, text);
}

const kindMark = kind => html("span", { class: "kind" }, kind);

function thumbs() {
  const field = byId("thumbs");
  const had = field.contains(document.activeElement) ? document.activeElement.dataset.cost : null;
  field.replaceChildren(...report.costs.map(cost => {
    const button = html("button", { type: "button", "aria-pressed": String(cost.key === choice.cost), "data-cost": cost.key }, cost.label, thumbnail(cost));
    button.addEventListener("click", () => { choice.cost = cost.key; draw(); });
    return button;
  }));
  if (had) field.querySelector(`[data-cost="${CSS.escape(had)}"]`).focus();
}

function captions() {
  const cost = costOf(choice.cost);
  const marks = [key("front", "on the front, selected on validation"), key("rest", "not on the front"), key("reference", "square: reference")];
  if (variants.some(v => reach(v, cost.key))) marks.push(key("whisker", "interquartile range"));
  marks.push(key("chosen", "chosen"));
  byId("scatter-says").replaceChildren(html("div", {}, ...marks),
    html("div", {}, kindMark(cost.kind), `${cost.label}: ${cost.how}. Accuracy: measured on the ${choice.accuracy} split. ` +
      "The front is that of validation accuracy, latency and memory together; the line joins those that no other variant beats " +
      "in validation accuracy and this cost."));
  const base = referenceOf();
  byId("heat-says").replaceChildren(kindMark("measured"), "Share of the output channels of ", base.name, " that stay: 0 %",
    html("span", { class: "ramp", "aria-hidden": "true" }), "100 %. One column per layer, in forward order.");
  const v = variants.find(x => x.id === choice.variant);
  byId("bars-says").replaceChildren(kindMark("measured"), html("strong", {}, v.name), `: output channels of each layer, of those of ${base.name}`);
  byId("curves-says").replaceChildren(kindMark("measured"), `One line per variant, the sparser the ${dark() ? "lighter" : "darker"}; the chosen one is orange. ` +
    "Each level has its own epochs.");
}

const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;

function draw() {
  const focused = document.activeElement && document.activeElement.closest("svg [data-id]");
  const place = focused ? [focused.closest(".plot").id, focused.dataset.id] : null;
  thumbs();
  for (const [id, plot] of [["scatter", drawScatter], ["heat", drawHeat], ["curves", drawCurves]]) {
    const box = byId(id);
    if (box.clientWidth) plot(box, box.clientWidth);
  }
  drawBars(byId("bars"));
  captions();
  byId("picker").value = choice.variant;
  for (const row of byId("variants").tBodies[0].rows) row.classList.toggle("chosen", row.dataset.id === choice.variant);
  if (place) {
    const again = byId(place[0]).querySelector(`g[data-id="${CSS.escape(place[1])}"]`);
    if (again) again.focus({ preventScroll: true });
  }
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const value = row => (row.cells[column].dataset.value === "" ? Infinity : Number(row.cells[column].dataset.value));
    const rows = [...table.tBodies[0].rows].sort((a, b) => (down ? -1 : 1) * (value(a) - value(b)) || 0);
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...rows);
  }));
}

function start() {
  const splits = ["test", "validation"].filter(s => variants.some(v => s in v.accuracy));
  radios(byId("accuracy-by"), splits.map(s => [s, s]), choice.accuracy, value => { choice.accuracy = value; });
  radios(byId("scale-by"), [["linear", "linear"], ["log", "log"]], "linear", value => { choice.log = value === "log"; });
  const metrics = metricsFound();
  byId("training").hidden = !metrics.length;
  if (!metrics.includes(choice.metric)) [choice.metric = "loss"] = metrics;
  radios(byId("curve-by"), metrics.map(m => [m, METRICS[m][0].toLowerCase()]), choice.metric, value => { choice.metric = value; });
  const picker = byId("picker");
  for (const v of variants) picker.append(html("option", { value: v.id }, v.name));
  picker.addEventListener("change", () => choose(picker.value));
  for (const button of document.querySelectorAll("[data-choose]")) button.addEventListener("click", () => choose(button.dataset.choose));
  sortable(byId("variants"));
  draw();
  let drawnAt = innerWidth;
  // Drawn in the next frame: drawing inside the observer changes sizes under it, which browsers report as an error.
  const redraw = () => { if (innerWidth !== drawnAt) { drawnAt = innerWidth; draw(); } };
  new ResizeObserver(() => requestAnimationFrame(redraw)).observe(document.documentElement);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.addEventListener("keydown", event => { if (event.key === "Escape") hideTip(); });
  document.addEventListener("scroll", hideTip, { passive: true });
}

start();
