# SPDX-License-Identifier: Apache-2.0
"""One HTML file about a portfolio: it holds its data, style and scripts, and fetches nothing."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeshift import __version__
from edgeshift.core.files import write_bytes
from edgeshift.core.page import digest, fill, part, scripts
from edgeshift.reports.facts import PICK_LOSS, facts
from edgeshift.reports.words import NOTHING, amount, percent, significant, times

if TYPE_CHECKING:
    from edgeshift.portfolio import Portfolio

# More values than this are shown by their beginning.
LONG = 20
SCRIPTS = ("draw.js", "plots.js", "page.js")


def write_html(portfolio: "Portfolio", path: Path) -> None:
    """Write the report; it opens from disk, without a network.

    Args:
        portfolio: Of at least one variant.
        path: The HTML file; appears whole or not at all.

    Raises:
        BadValue: If the portfolio is empty.
        BadPortfolio: If a training log is not JSON records.
        DiskFull: If the disk is full.
    """
    write_bytes(path, page(facts(portfolio)).encode("utf-8"))


def page(found: Mapping[str, Any]) -> str:
    """The report as text, from what `facts` found."""
    style, script = part("reports", "page.css"), scripts("reports", *SCRIPTS)
    title = f"{found['model']['name']} on {found['data'].get('name', 'data')}"
    return fill(
        part("reports", "page.html"),
        {
            # Only this style and this script may run, whatever a name in the portfolio says.
            "policy": f"default-src 'none'; img-src data:; "
            f"style-src {digest(style)}; script-src {digest(script)}",
            "title": escape(title),
            "subtitle": escape(subtitle(found)),
            "tiles": tiles(found),
            "table": variants_table(found),
            "model": pairs(found["model"]),
            "dataset": pairs(found["data"]),
            "environment": environment(found["environment"]),
            "asked": pairs(dict(flattened(found["recipe"]))),
            "recipes": recipes(found["variants"]),
            "version": escape(__version__),
            "style": style,
            "data": embedded(found),
            "script": script,
        },
    )


def embedded(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def subtitle(found: Mapping[str, Any]) -> str:
    """How many variants there are and how their accuracy is read."""
    count, front = len(found["variants"]), len(found["front"])
    many = "1 variant" if count == 1 else f"{count} variants"
    return f"{many}, {front} on the front. Accuracy is selected on validation and reported on test."


def tiles(found: Mapping[str, Any]) -> str:
    """Three variants a reader looks for first."""
    by_id = {v["id"]: v for v in found["variants"]}
    least = min(found["variants"], key=lambda v: (v["values"]["parameters"], v["values"]["macs"]))
    wanted = [
        ("Reference, least sparse", by_id[found["reference"]]),
        (f"Lowest latency within {100 * PICK_LOSS:g} point of validation accuracy", by_id[found["pick"]]),
        ("Fewest parameters", least),
    ]
    return "".join(tile(heading, v, by_id[found["reference"]], found["costs"]) for heading, v in wanted)


def tile(heading: str, v: Mapping[str, Any], base: Mapping[str, Any], costs: list[dict[str, str]]) -> str:
    """One variant in five lines."""
    test, latency = (
        v["accuracy"].get("test"),
        next((c for c in costs if c["key"].startswith("latency-")), None),
    )
    change = ""
    if v is not base and test is not None and base["accuracy"].get("test") is not None:
        points = f"{100 * (test - base['accuracy']['test']):+.2f}".replace("-", "\u2212")
        change = f" ({points} points)"
    rows = [("Test accuracy", percent(test) + change)]
    if latency is not None:
        value = amount(v["values"][latency["key"]], latency["unit"])
        rows.append((latency["label"], value + versus(v["faster"], "faster", "slower")))
    rows.append(("Parameters", amount(v["values"]["parameters"], "") + versus(v["smaller"], "fewer", "more")))
    rows.append(("MACs", amount(v["values"]["macs"], "") + versus(v["fewer_macs"], "fewer", "more")))
    body = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(t)}</dd></div>" for k, t in rows)
    return (
        f'<article class="tile"><h3>{escape(heading)}</h3><p>{escape(v["name"])}</p><dl>{body}</dl></article>'
    )


def versus(by: float | None, more: str, less: str) -> str:
    """`, 2.35x faster` or `, 1.10x slower`; nothing where the difference is below half a percent."""
    if by is None or abs(by - 1) < 0.005:
        return ""
    return f", {significant(by)}x {more}" if by > 1 else f", {significant(1 / by)}x {less}"


def variants_table(found: Mapping[str, Any]) -> str:
    """Rows of every variant; each cell carries the number it is sorted by."""
    heads = [("Variant", ""), ("Test accuracy", "measured"), ("Validation accuracy", "measured")]
    heads += [("Faster", "measured"), ("Smaller", "measured")]
    for cost in found["costs"]:
        heads.append((cost["label"], cost["kind"]))
        if cost["key"].startswith("latency-"):
            heads += [("p95", cost["kind"]), ("Spread", cost["kind"])]
    heads += [("Sparsity", "measured"), ("Max error", "measured")]
    head = "".join(header(text, kind) for text, kind in heads)
    ordered = sorted(found["variants"], key=lambda v: (v["sparsity"], -v["values"]["macs"]))
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(row(v, found) for v in ordered)}</tbody>"


def header(text: str, kind: str) -> str:
    """A column head that sorts."""
    small = f"<small>{escape(kind)}</small>" if kind else ""
    return f'<th scope="col" aria-sort="none"><button type="button">{escape(text)}{small}</button></th>'


def row(v: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """One variant of the table."""
    cells = [cell(percent(v["accuracy"].get(s)), v["accuracy"].get(s)) for s in ("test", "validation")]
    cells += [cell(times(v["faster"]), v["faster"]), cell(times(v["smaller"]), v["smaller"])]
    for cost in found["costs"]:
        value = v["values"][cost["key"]]
        cells.append(cell(amount(value, cost["unit"]), value))
        if cost["key"].startswith("latency-"):
            m = v["measurements"].get(cost["key"], {})
            cells.append(cell(amount(m.get("p95"), cost["unit"]), m.get("p95")))
            spread = m.get("spread")
            cells.append(cell(NOTHING if spread is None else f"{100 * spread:.1f} %", spread))
    cells += [cell(f"{100 * v['sparsity']:.1f} %", v["sparsity"]), proof_cell(v["proof"])]
    mark = '<span class="mark" title="on the front">●</span>' if v["front"] else ""
    said = '<span class="away"> on the front</span>' if v["front"] else ""
    name = f'<button type="button" data-choose="{escape(v["id"])}">{mark}{escape(v["name"])}{said}</button>'
    order = f'data-value="{v["sparsity"]}"'
    return f'<tr data-id="{escape(v["id"])}"><th scope="row" {order}>{name}</th>{"".join(cells)}</tr>'


def cell(text: str, value: float | None) -> str:
    """A number as text, and as what it is sorted by."""
    return f'<td data-value="{"" if value is None else value}">{escape(text)}</td>'


def proof_cell(proof: Mapping[str, Any]) -> str:
    """Largest relative difference between masked and shrunk model, and whether it is inside its bound."""
    exact = proof["max_error_float64"] <= proof["tolerance"]
    word = "exact" if exact else "not exact"
    kinds = ", ".join(proof["kinds"])
    says = (
        f"{proof['inputs']} input batches ({kinds}): at most {proof['max_error_float64']:.1e} in float64, "
        f"bound {proof['tolerance']:.0e}; {proof['max_error']:.1e} in the model's own type"
    )
    text = (
        f'<span class="verdict {"good" if exact else "bad"}">{word}</span> {proof["max_error_float64"]:.1e}'
    )
    return f'<td data-value="{proof["max_error_float64"]}" title="{escape(says)}">{text}</td>'


def pairs(record: Mapping[str, Any]) -> str:
    """A record as terms and definitions; empty values are left out."""
    filled = [(k, v) for k, v in record.items() if v not in ((), [], {}, None, "")]
    return "".join(f"<dt>{escape(k.replace('_', ' '))}</dt><dd>{escape(plain(v))}</dd>" for k, v in filled)


def plain(value: Any) -> str:
    """A JSON value as a reader wants it; a long list by its beginning and its length."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        more = f", ... ({len(value)} in all)" if len(value) > LONG else ""
        return ", ".join(plain(v) for v in value[:LONG]) + more
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def environment(records: list[dict[str, str]]) -> str:
    """Where and how each figure came about."""
    if not records:
        return "<tbody><tr><td>No figure of this portfolio was measured.</td></tr></tbody>"
    head = "".join(f'<th scope="col">{escape(k)}</th>' for k in records[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(t)}</td>" for t in r.values()) + "</tr>" for r in records)
    return f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"


def recipes(variants: list[dict[str, Any]]) -> str:
    """What was asked of the stages: what all variants share as a list, the rest as a table."""
    flat = [dict(flattened(v["recipe"])) for v in variants]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    shared = {
        key: flat[0][key] for key in keys if all(one.get(key, NOTHING) == flat[0].get(key) for one in flat)
    }
    differing = [key for key in keys if key not in shared]
    text = f'<dl class="pairs">{pairs(shared)}</dl>'
    if not differing:
        return text
    head = "".join(f'<th scope="col">{escape(key)}</th>' for key in differing)
    rows = ""
    for v, one in zip(variants, flat, strict=True):
        cells = "".join(f"<td>{escape(plain(one.get(key, NOTHING)))}</td>" for key in differing)
        rows += f'<tr><th scope="row">{escape(v["name"])}</th>{cells}</tr>'
    return (
        f'{text}<div class="scroll" tabindex="0" role="region" aria-label="Recipe of each variant">'
        f'<table class="plain asked"><thead><tr><th scope="col">variant</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def flattened(record: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """`{"train": {"lr": 1}}` -> `("train.lr", 1)`."""
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
