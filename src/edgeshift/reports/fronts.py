# SPDX-License-Identifier: Apache-2.0
"""One HTML file about a comparison: fronts laid over one another, tables below. It runs no script."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from edgeshift import __version__
from edgeshift.core.files import write_bytes
from edgeshift.core.page import digest, part
from edgeshift.reports.facts import PICK_LOSS
from edgeshift.reports.words import amount, percent, significant

# Okabe and Ito's colours, told apart under colour blindness too; marks differ in shape besides.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#56b4e9", "#7a5195", "#5f6670")
SHAPES = ("circle", "square", "triangle", "diamond", "plus", "cross")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 460, 64, 20, 16, 48
STYLE = """
.legend { display: flex; flex-wrap: wrap; gap: 6px 20px; list-style: none; margin: 0 0 10px; padding: 0; }
.legend li { display: inline-flex; align-items: center; gap: 6px; }
.legend svg { width: 30px; height: 14px; }
.plot line.grid { stroke: var(--line); } .plot line.base { stroke: var(--axis); }
.plot .faint { opacity: .4; }
"""


def write_comparison(facts: Mapping[str, Any], path: Path) -> None:
    """Write the report of what `compared` found; it opens from disk, without a network.

    Raises:
        DiskFull: If the disk is full.
    """
    write_bytes(path, page(facts).encode("utf-8"))


def page(facts: Mapping[str, Any]) -> str:
    """The report as text."""
    style = part("reports", "page.css") + STYLE
    title = escape(f"{facts['model']} on {facts['data']}: {len(facts['methods'])} methods compared")
    policy = f"default-src 'none'; img-src data:; style-src {digest(style)}"
    worst = facts["worst"]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} – EdgeShift</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header><p class="brand">EdgeShift</p><h1>{title}</h1>
<p class="lead">Equal epochs per level, seeds and splits. Accuracy is selected on validation and reported on test.</p>
</header>
<main>
<section aria-labelledby="h-fronts"><h2 id="h-fronts">Fronts</h2>
<p class="note">Lines join each run's front, chosen by validation accuracy and latency; faint marks are off it.
Latency is measured, batch 1, one thread, {escape(facts["runtime"])}, {escape(facts["device"])}.</p>
{legend(facts["methods"])}
<figure><div class="plot scroll" tabindex="0" role="region" aria-label="Plot of the fronts">{plot(facts)}</div></figure>
</section>
<section aria-labelledby="h-methods"><h2 id="h-methods">Methods</h2>
<p class="note">Hypervolume: area above {percent(worst["accuracy"])} test accuracy
and below {worst["latency_ms"]:.3g} ms that the front dominates, in ms x points;
mean over seeds with standard deviation. Pick: the fastest variant within
{100 * PICK_LOSS:g} point of its dense network on validation. Training cost is counted: multiply-accumulates if
zeros cost nothing, over those of a dense training of as many epochs. Seconds are wall time and measured.</p>
{table(METHOD_HEADS, method_cells(facts["methods"]))}
</section>
{twin_section(facts["twins"])}
<section aria-labelledby="h-variants"><h2 id="h-variants">Variants</h2>
{table(VARIANT_HEADS, variant_cells(facts["variants"]))}
</section>
</main>
<footer><p>Written by EdgeShift {escape(__version__)}. This file fetches nothing.</p></footer>
</body>
</html>
"""


METHOD_HEADS = (
    "Method",
    "Seeds",
    "Hypervolume",
    "Over baseline",
    "Pick: test",
    "Pick: faster",
    "Pick: smaller",
    "Training cost",
    "Training time",
)
VARIANT_HEADS = (
    "Method",
    "Seed",
    "Variant",
    "Test",
    "Validation",
    "Latency",
    "Parameters",
    "MACs",
    "Sparsity",
)
TWIN_HEADS = ("Method", "Level", "Inherited", "From scratch", "Difference", "Standard error", "Seeds")


def method_cells(methods: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of the table of methods."""
    rows = []
    for m in methods:
        spread = "" if m["spread"] is None else f" ± {100 * m['spread']:.3g}"
        share = m["training_macs"] / m["dense_training_macs"] if m["dense_training_macs"] else 0.0
        rows.append(
            [
                m["name"],
                str(len(m["seeds"])),
                f"{100 * m['hypervolume']:.3g}{spread}",
                f"{m['ratio']:.2f}x",
                percent(m["pick_test"]),
                f"{significant(m['pick_faster'])}x",
                f"{significant(m['pick_smaller'])}x",
                f"{100 * share:.0f} %",
                f"{m['seconds']:,.0f} s",
            ]
        )
    return rows


def variant_cells(variants: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of the table of variants."""
    return [
        [
            v["method"],
            str(v["seed"]),
            v["name"] + (" ●" if v["front"] else ""),
            percent(v["test"]),
            percent(v["validation"]),
            amount(v["latency_ms"], "ms"),
            amount(v["parameters"], ""),
            amount(v["macs"], ""),
            f"{100 * v['sparsity']:.1f} %",
        ]
        for v in variants
    ]


def twin_section(twins: Sequence[Mapping[str, Any]]) -> str:
    """Inherited weights beside random ones; nothing where none were trained."""
    if not twins:
        return ""
    rows = []
    for t in twins:
        error = "one seed" if t["standard_error"] is None else f"{100 * t['standard_error']:.2f}"
        points = f"{100 * t['difference']:+.2f}".replace("-", "\u2212")
        rows.append(
            [
                t["method"],
                t["level"],
                percent(t["inherited"]),
                percent(t["scratch"]),
                points,
                error,
                str(t["seeds"]),
            ]
        )
    return (
        '<section aria-labelledby="h-twins"><h2 id="h-twins">Are inherited weights worth anything?</h2>'
        '<p class="note">The same architectures, trained from random weights for as many epochs. Differences in '
        "points of test accuracy, paired over seeds; within two standard errors of zero they show nothing.</p>"
        f"{table(TWIN_HEADS, rows)}</section>"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table; the first column names its row."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(t)}</td>" for t in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(heads[0])} table">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def legend(methods: Sequence[Mapping[str, Any]]) -> str:
    """Name of each method with its line and mark."""
    items = [
        f'<li><svg viewBox="0 0 30 14" aria-hidden="true"><line x1="0" y1="7" x2="30" y2="7" '
        f'stroke="{colour(k)}" stroke-width="2"/>{mark(k, 15, 7)}</svg>{escape(m["name"])}</li>'
        for k, m in enumerate(methods)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def colour(number: int) -> str:
    """Of the method of that number."""
    return COLOURS[number % len(COLOURS)]


def mark(number: int, x: float, y: float, label: str = "") -> str:
    """The mark of a method at a place, with what a pointer shows."""
    shape, fill, r = SHAPES[number % len(SHAPES)], colour(number), 5.0
    title = f"<title>{escape(label)}</title>" if label else ""
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" fill="{fill}">{title}</circle>'
    if shape in ("plus", "cross"):
        d = r if shape == "plus" else r * 0.8
        lines = ((-d, 0, d, 0), (0, -d, 0, d)) if shape == "plus" else ((-d, -d, d, d), (-d, d, d, -d))
        path = "".join(f"M{x + a:.1f} {y + b:.1f}L{x + c:.1f} {y + e:.1f}" for a, b, c, e in lines)
        return f'<path d="{path}" stroke="{fill}" stroke-width="3" fill="none">{title}</path>'
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "triangle": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
        "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    }[shape]
    points = " ".join(f"{x + a * r * 0.9:.1f},{y + b * r * 0.9:.1f}" for a, b in corners)
    return f'<polygon points="{points}" fill="{fill}">{title}</polygon>'


def plot(facts: Mapping[str, Any]) -> str:
    """Accuracy on test against latency, every variant of every method."""
    variants = facts["variants"]
    names = [m["name"] for m in facts["methods"]]
    # Far below the best nobody ships; a collapsed variant must not flatten the rest.
    floor = max(min(v["test"] for v in variants), facts["worst"]["accuracy"] - 0.05)
    xs, ys = [v["latency_ms"] for v in variants], [v["test"] for v in variants if v["test"] >= floor]
    x_ticks, y_ticks = ticks(min(0.0, *xs), max(xs)), ticks(100 * min(ys), 100 * max(ys))

    def x_of(ms: float) -> float:
        return LEFT + (ms - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (WIDTH - LEFT - RIGHT)

    def y_of(points: float) -> float:
        return HEIGHT - BOTTOM - (points - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Test accuracy against latency">']
    for tick in y_ticks:
        y = y_of(tick)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        out.append(
            f'<text x="{x_of(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>'
        )
    base = HEIGHT - BOTTOM
    out.append(f'<line class="base" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    out.append(
        f'<text class="axis-title" x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">Latency, ms</text>'
    )
    out.append(
        f'<text class="axis-title" transform="translate(14 {TOP + 4}) rotate(-90)" text-anchor="end">'
        "Test accuracy, %</text>"
    )
    for k, name in enumerate(names):
        for seed in dict.fromkeys(v["seed"] for v in variants if v["method"] == name):
            shown = [v for v in variants if (v["method"], v["seed"]) == (name, seed) and v["test"] >= floor]
            front = sorted((v for v in shown if v["front"]), key=lambda v: v["latency_ms"])
            line = " ".join(f"{x_of(v['latency_ms']):.1f},{y_of(100 * v['test']):.1f}" for v in front)
            out.append(
                f'<polyline points="{line}" fill="none" stroke="{colour(k)}" stroke-width="1.5" opacity=".8"/>'
            )
            for v in shown:
                label = f"{name}, seed {seed}, {v['name']}: {percent(v['test'])}, {v['latency_ms']:.3g} ms"
                drawn = mark(k, x_of(v["latency_ms"]), y_of(100 * v["test"]), label)
                out.append(drawn if v["front"] else f'<g class="faint">{drawn}</g>')
    return "".join([*out, "</svg>"])


def ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers that hold the span."""
    span = (high - low) or max(abs(high), 1.0)
    raw = span / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [round(k * step, 10) for k in range(first, last + 1)]
