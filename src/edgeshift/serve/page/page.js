// SPDX-License-Identifier: Apache-2.0
// Asks the server once a second and shows what it says; the token never leaves this page but to /manage.
"use strict";

const by = id => document.getElementById(id);
const KEPT = 200;
let events = [], last = null, token = null, waiting = null, seen = 0;
const frames = {};

async function poll() {
  try {
    const answer = await fetch(`/dashboard/data?since=${seen}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
    state("live", last.pinned === null ? `live, policy ${last.policy}` : `live, pinned to ${last.pinned}`);
  } catch (error) {
    state("lost", "no answer from the server; trying again");
  }
  setTimeout(poll, document.hidden ? 5000 : 1000);
}

function state(kind, text) {
  const box = by("state");
  box.className = `state ${kind}`;
  if (box.textContent !== text) box.textContent = text;
}

function show(data) {
  if (last && data.uptime_s < last.uptime_s) events = [];  // the server was started again
  last = data;
  events = [...data.events.reverse(), ...events].slice(0, KEPT);
  seen = data.last_event;
  tiles(data);
  charts(data);
  variants(data);
  switches(data);
  rows(by("sensors"), data.sensors.map(s => [s.name, `${significant(s.value)} ${s.unit}`, ago(s.age_s)]),
    ["Sensor", "Value", "Read"], "No sensor of this device can be read; the policy goes by its own service time.");
  rows(by("refused"), data.refused.map(r => [r.code, count(r.count)]),
    ["Code", "Requests"], "No request was refused.");
}

function tile(title, value, more, bad = false, gauge = null) {
  const box = html("article", { class: bad ? "tile bad" : "tile" }, html("h3", {}, title),
    html("p", { class: "value" }, value), html("p", { class: "more" }, more));
  if (gauge !== null) {
    box.append(html("meter", { min: 0, max: 1, high: 0.85, optimum: 0, value: Math.min(1, gauge), "aria-label": more }));
  }
  return box;
}

function tiles(data) {
  const now = data.now;
  const active = data.variants.find(v => v.name === data.active);
  const share = data.deadline_ms && known(now.p95_ms) ? now.p95_ms / data.deadline_ms : null;
  const late = known(now.late) && now.late > 0.05;
  by("tiles").replaceChildren(
    tile("Active variant", data.active, data.pinned === null ? `accuracy ${percent(active?.accuracy)}` : "pinned by hand"),
    tile("Requests", `${significant(now.rate)} /s`, `${now.queued} queued, ${now.in_flight} in flight`),
    tile("Latency, 95 % within", ms(now.p95_ms),
      data.deadline_ms ? (share === null ? `deadline ${ms(data.deadline_ms)}` : share > 1 ? `over the deadline of ${ms(data.deadline_ms)}` : `${percent(share)} of ${ms(data.deadline_ms)}`) : `median ${ms(now.p50_ms)}, no deadline`,
      share !== null && share > 1, share),
    tile("Late or refused", percent(now.late), late ? "of the last minute, over 1 in 20" : "of the last minute", late),
    tile("Accuracy expected", percent(now.accuracy), "right and on time"),
    tile("Memory", bytes(now.memory_bytes), "resident"),
    tile("Slowdown", known(now.slowdown) ? `${significant(now.slowdown)} ×` : NOTHING, "service time over profile"),
    tile("Generation", String(data.generation), `up ${ago(data.uptime_s).replace(" ago", "")}, ${count(data.switches)} switches`),
  );
}

function charts(data) {
  const mark = data.deadline_ms ? { value: data.deadline_ms, label: `deadline ${ms(data.deadline_ms)}` } : null;
  const end = data.history.at(-1);
  frames.latency = chart(by("latency"), data.history, data.uptime_s, [["p99", "p99_ms"], ["p95", "p95_ms"], ["p50", "p50_ms"]], "ms",
    `Latency over five minutes; at the end median ${ms(end?.p50_ms)}, 95th percentile ${ms(end?.p95_ms)}`, mark);
  frames.rate = chart(by("rate"), data.history, data.uptime_s, [["p95", "rate"], ["refused", "refused"]], "",
    `Requests per second over five minutes; at the end ${count(end?.rate)} answered, ${count(end?.refused)} refused`, null);
  frames.active = lanes(by("active"), data.history, data.uptime_s, data.variants);
}

function read(event, name) {
  const at = frames[name];
  if (!at || !last || !last.history.length) return;
  const box = event.currentTarget.getBoundingClientRect();
  const x = (event.clientX - box.left) * at.width / box.width;
  const seconds = (at.right - x) / (at.right - at.left) * SPAN;
  const near = last.history.reduce((a, b) =>
    Math.abs(last.uptime_s - a.time_s - seconds) <= Math.abs(last.uptime_s - b.time_s - seconds) ? a : b);
  by("reading").textContent = `${ago(last.uptime_s - near.time_s)}: ${near.active}, ${count(near.rate)}/s answered, ` +
    `${count(near.refused)}/s refused, median ${ms(near.p50_ms)}, 95 % ${ms(near.p95_ms)}, 99 % ${ms(near.p99_ms)}`;
}

function rows(table, lines, heads, empty) {
  const head = html("thead", {}, html("tr", {}, ...heads.map(h => html("th", { scope: "col" }, h))));
  const body = html("tbody", {}, ...lines.map(cells => html("tr", {},
    html("th", { scope: "row" }, cells[0]), ...cells.slice(1).map(c => html("td", {}, c)))));
  if (lines.length) table.replaceChildren(head, body);
  else table.replaceChildren(html("tbody", {}, html("tr", {}, html("td", { class: "empty" }, empty))));
}

// The table is built once and its cells are filled again: a button that is replaced between press and release
// would lose the click, and the focus with it.
let built = "";

function variants(data) {
  const names = data.variants.map(v => v.name).reverse();
  const kind = JSON.stringify([names, data.management]);
  const table = by("variants");
  if (kind !== built) {
    built = kind;
    build(table, names, data.management);
  }
  const bodies = [...table.tBodies[0].rows];
  [...data.variants].reverse().forEach((v, i) => {
    const row = bodies[i];
    row.className = v.name === data.active ? "on" : "";
    const tags = [];
    if (v.name === data.active) tags.push(html("span", { class: "tag" }, data.pinned === v.name ? "active, pinned" : "active"));
    if (v.quarantined) tags.push(html("span", { class: "tag bad" }, "quarantined"));
    else if (!v.ready) tags.push(html("span", { class: "tag" }, "not loaded"));
    row.cells[0].replaceChildren(v.name, ...tags);
    const texts = [percent(v.accuracy), ms(v.latency_ms), ms(v.p95_ms), bytes(v.size_bytes), count(v.requests)];
    texts.forEach((text, cell) => { row.cells[cell + 1].textContent = text; });
    const button = row.querySelector("button");
    if (button) {
      const pinned = data.pinned === v.name;
      button.textContent = pinned ? "Unpin" : "Pin";
      button.setAttribute("aria-label", `${button.textContent} ${v.name}`);
      button.setAttribute("aria-pressed", pinned);
    }
  });
  by("pin-note").textContent = data.management
    ? "A pinned variant answers everything until it is unpinned; pinning asks for the management token."
    : "Management is off: this server was started without a token file.";
}

function build(table, names, management) {
  const heads = ["Variant", "Accuracy", "Profiled median", "Profiled p95", "File", "Answers", ...(management ? ["Pin"] : [])];
  const wide = i => (i >= 2 && i <= 4 ? { class: "wide" } : {});
  const head = html("tr", {}, ...heads.map((h, i) => html("th", { scope: "col", ...wide(i) }, h)));
  const body = names.map(name => {
    const row = html("tr", {}, html("th", { scope: "row" }), ...[1, 2, 3, 4, 5].map(i => html("td", wide(i))));
    if (management) {
      const button = html("button", { type: "button" });
      button.addEventListener("click", () => {
        const pinned = last.pinned === name;
        manage(pinned ? "unpin" : "pin", pinned ? {} : { variant: name });
      });
      row.append(html("td", {}, button));
    }
    return row;
  });
  table.replaceChildren(html("thead", {}, head), html("tbody", {}, ...body));
}

function switches(data) {
  const rank = Object.fromEntries(data.variants.map((v, i) => [v.name, i]));
  by("switch-note").textContent = events.length < data.switches
    ? `The last ${events.length} of ${count(data.switches)}.` : `${count(data.switches)} since the start.`;
  const lines = events.map(e => {
    const up = rank[e.to] > rank[e.from];
    const arrow = html("span", { class: "arrow", "aria-hidden": "true" }, up ? "▲" : "▼");
    const what = html("span", { class: "what" }, arrow, `${e.from} → ${e.to}`);
    return html("li", {}, html("time", {}, ago(data.uptime_s - e.time_s)), what, html("span", { class: "why" }, e.cause));
  });
  by("switches").replaceChildren(...(lines.length ? lines : [html("li", { class: "none" }, "No switch yet.")]));
}

async function manage(word, body) {
  if (token === null) { waiting = [word, body]; by("ask-error").hidden = true; by("ask").showModal(); return; }
  let answer;
  try {
    answer = await fetch(`/manage/${word}`, {
      method: "POST", headers: { "Authorization": `Bearer ${token}`, "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch (error) {
    notice("The server did not answer; nothing was changed.");
    return;
  }
  if (answer.status === 401) {
    token = null;
    waiting = [word, body];
    by("ask-error").textContent = "The server does not know this token.";
    by("ask-error").hidden = false;
    if (!by("ask").open) by("ask").showModal();
    return;
  }
  if (by("ask").open) by("ask").close();
  notice(answer.ok ? "" : `The server refused: ${(await answer.json()).error}.`);
}

function notice(text) {
  by("notice").textContent = text;
  by("notice").hidden = text === "";
}

by("ask-form").addEventListener("submit", event => {
  event.preventDefault();
  token = by("token").value.trim();
  by("token").value = "";
  const [word, body] = waiting;
  manage(word, body);
});
by("ask-cancel").addEventListener("click", () => by("ask").close());
for (const name of ["latency", "rate", "active"]) by(name).addEventListener("pointermove", event => read(event, name));
addEventListener("resize", () => { if (last) charts(last); });
poll();
