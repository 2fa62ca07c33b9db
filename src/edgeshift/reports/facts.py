# SPDX-License-Identifier: Apache-2.0
"""Everything the tables and plots show, taken once from a portfolio, as JSON types."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.core.values import Measurement, Variant

if TYPE_CHECKING:
    from edgeshift.portfolio import Portfolio

# The pick is the variant of least latency that gives up at most this much validation accuracy.
PICK_LOSS = 0.01
TITLES = {"latency": "Latency", "peak_memory": "Peak memory", "file_size": "File size"}
COUNTED = {"macs": ("MACs", "MACs"), "parameters": ("Parameters", "")}


@dataclass(frozen=True)
class Cost:
    """One thing a variant costs, for which less is better.

    Attributes:
        key: Names the cost in the page, such as "latency-1-1".
        label: What a reader sees, such as "Latency, batch 1".
        unit: "ms", "bytes", "MACs", or empty for a plain count.
        kind: "measured", "predicted" or "modelled".
        how: The protocol in a few words.
    """

    key: str
    label: str
    unit: str
    kind: str
    how: str


def cost_key(measurement: Measurement) -> str:
    """Equal for measurements that can be compared with each other."""
    return f"{measurement.quantity}-{measurement.batch_size}-{measurement.threads}"


def value_of(variant: Variant, key: str) -> float | None:
    """The variant's cost under that key; None if it has no such measurement."""
    if key in COUNTED:
        return float(getattr(variant, key))
    return next((m.value for m in variant.measurements if cost_key(m) == key), None)


def costs(variants: Sequence[Variant]) -> tuple[Cost, ...]:
    """Latencies by batch size, then memory and size, then what is counted on the network."""
    first: dict[str, Measurement] = {}
    for measurement in (m for v in variants for m in v.measurements):
        first.setdefault(cost_key(measurement), measurement)
    order = list(TITLES)
    ranked = sorted(
        first.values(),
        key=lambda m: (
            order.index(m.quantity) if m.quantity in order else len(order),
            m.quantity,
            m.batch_size,
        ),
    )
    threads = {m.threads for m in ranked if m.quantity == "latency"}
    found = [_measured_cost(m, list(variants), several_threads=len(threads) > 1) for m in ranked]
    for key, (label, unit) in COUNTED.items():
        found.append(Cost(key, label, unit, "measured", "counted on the network, for one input"))
    return tuple(found)


def _measured_cost(m: Measurement, variants: Sequence[Variant], *, several_threads: bool) -> Cost:
    same = [x for v in variants for x in v.measurements if cost_key(x) == cost_key(m)]
    kinds = {x.kind for x in same}
    label = TITLES.get(m.quantity, m.quantity.replace("_", " ").capitalize())
    if m.quantity == "latency":
        label += f", batch {m.batch_size}"
        label += f", {m.threads} threads" if several_threads else ""
    return Cost(cost_key(m), label, m.unit, " and ".join(sorted(kinds)), protocol(same))


def span(numbers: Iterable[int]) -> str:
    """`5`, or `5 to 9` where they differ."""
    values = sorted(set(numbers))
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def protocol(same: Sequence[Measurement]) -> str:
    """How a figure came about, such as "median of 50 calls after 5, 1 thread, onnxruntime 1.20"."""
    threads = span(m.threads for m in same)
    words = [f"{threads} thread{'' if threads == '1' else 's'}", ", ".join(sorted({m.runtime for m in same}))]
    if max(m.repeats for m in same) > 1:
        warmup = f" after {span(m.warmup for m in same)}" if any(m.warmup for m in same) else ""
        words.insert(0, f"median of {span(m.repeats for m in same)} calls{warmup}")
    return ", ".join(w for w in words if w)


def reference(variants: Sequence[Variant]) -> Variant:
    """The variant the others are compared with: least sparse, then most MACs.

    Raises:
        BadValue: If there are no variants.
    """
    if not variants:
        raise BadValue("variants of the portfolio", 0, "at least one to report on")
    return min(variants, key=lambda v: (v.sparsity, -v.macs))


def main_cost(variants: Sequence[Variant]) -> Cost:
    """The cost that ranks variants: the first latency, or MACs where none was measured."""
    every = costs(variants)
    return next((c for c in every if c.key.startswith("latency-")), next(c for c in every if c.key == "macs"))


def pick(variants: Sequence[Variant]) -> Variant:
    """The variant of least main cost within `PICK_LOSS` of the reference's validation accuracy."""
    least = reference(variants).accuracy.get("validation", 0.0) - PICK_LOSS
    cost = main_cost(variants).key
    good = [
        v for v in variants if v.accuracy.get("validation", 0.0) >= least and value_of(v, cost) is not None
    ]
    return min(good, key=lambda v: value_of(v, cost) or 0.0, default=reference(variants))


def curve_of(log: bytes, name: str) -> list[dict[str, Any]]:
    """The records of a training log, one per epoch; NaN and infinity become None.

    Raises:
        BadPortfolio: If a line is not a JSON record.
    """
    records = []
    for number, line in enumerate(log.decode("utf-8", errors="replace").splitlines(), start=1):
        try:
            record = json.loads(line, parse_constant=lambda _: None)
        except ValueError:
            record = line
        if not isinstance(record, dict):
            raise BadPortfolio(f"log of {name} must be JSON records, got {line[:40]!r} in line {number}")
        records.append(record)
    return records


def ratio(over: float | None, under: float | None) -> float | None:
    """How many times `under` fits in `over`; None where either is missing or nothing."""
    return over / under if over and under else None


def _record(variant: Variant, base: Variant, keys: Sequence[str], front: set[str]) -> dict[str, Any]:
    latency = next((k for k in keys if k.startswith("latency-")), None)
    values = {key: value_of(variant, key) for key in keys}
    return {
        "id": variant.id,
        "name": variant.name,
        "front": variant.id in front,
        "reference": variant.id == base.id,
        "accuracy": dict(variant.accuracy),
        "sparsity": variant.sparsity,
        "values": values,
        "faster": ratio(value_of(base, latency), values[latency]) if latency else None,
        "smaller": ratio(base.parameters, variant.parameters),
        "fewer_macs": ratio(base.macs, variant.macs),
        "proof": asdict(variant.proof),
    }


def summary(portfolio: "Portfolio") -> dict[str, Any]:
    """The portfolio in JSON types, for scripts.

    Args:
        portfolio: Of at least one variant.

    Returns:
        `model`, `data`, `costs` (key, label, unit, kind, how), `reference`, `pick` and `front` (variant ids),
        and `variants`: accuracy by split, values by cost key, ratios to the reference, proof.

    Raises:
        BadValue: If the portfolio is empty.
    """
    variants = tuple(portfolio.variants)
    base = reference(variants)
    front = [v.id for v in portfolio.front()]
    every = costs(variants)
    keys = [c.key for c in every]
    return {
        "model": asdict(portfolio.model),
        "data": dict(portfolio.data),
        "costs": [asdict(c) for c in every],
        "reference": base.id,
        "pick": pick(variants).id,
        "front": front,
        "variants": [_record(v, base, keys, set(front)) for v in variants],
    }


def facts(portfolio: "Portfolio") -> dict[str, Any]:
    """`summary` with what only the page shows: widths, curves, recipes, spreads and the environment.

    Raises:
        BadValue: If the portfolio is empty.
        BadPortfolio: If a training log was changed or is not JSON records.
    """
    found = summary(portfolio)
    for record, variant in zip(found["variants"], portfolio.variants, strict=True):
        record["widths"] = dict(variant.widths)
        record["recipe"] = dict(variant.recipe)
        record["measurements"] = {cost_key(m): asdict(m) for m in variant.measurements}
        record["curve"] = []
        if "log" in variant.files:
            record["curve"] = curve_of(portfolio.read(variant, "log"), variant.name)
    found["recipe"] = dict(portfolio.recipe)
    found["layers"] = layers(portfolio.variants)
    found["environment"] = environment(portfolio.variants)
    return found


def layers(variants: Sequence[Variant]) -> list[str]:
    """Layer names in forward order: the reference's, then those that only others have."""
    base = reference(variants)
    seen: dict[str, None] = dict.fromkeys(base.widths)
    for variant in variants:
        seen.update(dict.fromkeys(variant.widths))
    return list(seen)


def environment(variants: Sequence[Variant]) -> list[dict[str, str]]:
    """One record per cost that was measured, predicted or modelled: where, with what, how often."""
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for m in (m for v in variants for m in v.measurements):
        groups.setdefault((cost_key(m), m.kind, m.device, m.runtime), []).append(m)
    labels: Mapping[str, str] = {c.key: c.label for c in costs(variants)}
    return [
        {
            "figure": labels[key],
            "kind": kind,
            "device": device or "not stated",
            "runtime": runtime or "none",
            "threads": span(m.threads for m in same),
            "calls": span(m.repeats for m in same),
            "warm-up": span(m.warmup for m in same),
        }
        for (key, kind, device, runtime), same in sorted(groups.items())
    ]
