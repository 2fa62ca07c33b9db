# SPDX-License-Identifier: Apache-2.0
"""What a comparison of methods shows, taken once from its portfolios, as JSON types."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from edgeshift.core.errors import BadValue
from edgeshift.core.values import Variant
from edgeshift.reports.facts import PICK_LOSS, curve_of, reference

if TYPE_CHECKING:
    from edgeshift.portfolio import Portfolio

# Variants further than this below the best validation accuracy count nothing: nobody would ship them.
DEPTH = 0.10
TWIN = ", from scratch"
COSTS = ("seconds", "training_macs", "dense_training_macs")


def hypervolume(points: Sequence[tuple[float, float]], worst: tuple[float, float]) -> float:
    """Area that points dominate, up to the worst point.

    Args:
        points: `(cost, accuracy)`: less of the first and more of the second is better.
        worst: `(cost, accuracy)`; what is no better than it in both counts nothing.
    """
    area, height = 0.0, worst[1]
    for cost, accuracy in sorted(points, key=lambda p: (p[0], -p[1])):
        if cost < worst[0] and accuracy > height:
            area += (worst[0] - cost) * (accuracy - height)
            height = accuracy
    return area


def front_of(variants: Sequence[Variant]) -> list[Variant]:
    """Variants that no other beats in validation accuracy and latency, from the fastest."""
    found: list[Variant] = []
    for v in sorted(variants, key=lambda v: (v.measured("latency").value, -v.accuracy["validation"])):
        if not found or v.accuracy["validation"] > found[-1].accuracy["validation"]:
            found.append(v)
    return found


def compared(portfolios: Mapping[tuple[str, int], "Portfolio"]) -> dict[str, Any]:
    """The comparison in JSON types.

    Args:
        portfolios: (method, seed) -> its portfolio, measured; the first method is the baseline. A method whose
            name ends in `TWIN` holds another's architectures trained from random weights.

    Returns:
        `model`, `data`, `worst` (the reference point of hypervolumes), `methods` (name, seeds, hypervolume with
        spread, ratio to the baseline, training cost, pick) and `variants`; `twins` where there are any.

    Raises:
        BadValue: If there is no portfolio, or one is empty.
    """
    if not portfolios:
        raise BadValue("portfolios", 0, "at least one")
    every = [v for p in portfolios.values() for v in p]
    first = next(iter(portfolios.values()))
    dense = reference(tuple(first.variants))
    best = max(v.accuracy["validation"] for v in every)  # the test split decides nothing
    worst = (max(v.measured("latency").value for v in every), best - DEPTH)
    names = list(dict.fromkeys(name for name, _ in portfolios))
    rows = [method_row(n, {s: p for (m, s), p in portfolios.items() if m == n}, worst, dense) for n in names]
    base = rows[0]["hypervolume"]
    for row in rows:
        row["ratio"] = row["hypervolume"] / base if base else 0.0
    return {
        "model": first.model.name,
        "data": str(first.data.get("name", "")),
        "device": dense.measured("latency").device,
        "runtime": dense.measured("latency").runtime,
        "worst": {"latency_ms": worst[0], "accuracy": worst[1]},
        "methods": rows,
        "variants": [v for (name, seed), p in portfolios.items() for v in variant_rows(name, seed, p)],
        "twins": twins(portfolios, names),
    }


def method_row(
    name: str, portfolios: Mapping[int, "Portfolio"], worst: tuple[float, float], dense: Variant
) -> dict[str, Any]:
    """One method over its seeds; accuracy chooses on validation and is reported on test."""
    areas, picks = [], []
    for portfolio in portfolios.values():
        points = [(v.measured("latency").value, v.accuracy["test"]) for v in front_of(portfolio.variants)]
        areas.append(hypervolume(points, worst))
        bound = reference(tuple(portfolio.variants)).accuracy["validation"] - PICK_LOSS
        good = [v for v in portfolio.variants if v.accuracy["validation"] >= bound]
        picks.append(min(good, key=lambda v: v.measured("latency").value))
    costs = [training_cost(p) for p in portfolios.values()]
    return {
        "name": name,
        "seeds": list(portfolios),
        "hypervolume": mean(areas),
        "spread": stdev(areas) if len(areas) > 1 else None,
        "pick_test": mean(v.accuracy["test"] for v in picks),
        "pick_faster": mean(dense.measured("latency").value / v.measured("latency").value for v in picks),
        "pick_smaller": mean(dense.parameters / v.parameters for v in picks),
        **{key: mean(cost[key] for cost in costs) for key in COSTS},
    }


def training_cost(portfolio: "Portfolio") -> dict[str, float]:
    """Seconds and multiply-accumulates behind all levels of a portfolio, from their logs."""
    curves = [curve_of(portfolio.read(v, "log"), v.name) for v in portfolio if "log" in v.files]
    return {key: sum(float(r.get(key) or 0.0) for curve in curves for r in curve) for key in COSTS}


def variant_rows(name: str, seed: int, portfolio: "Portfolio") -> list[dict[str, Any]]:
    """The variants of one run."""
    front = {v.id for v in front_of(portfolio.variants)}
    return [
        {
            "method": name,
            "seed": seed,
            "name": v.name,
            "front": v.id in front,
            "test": v.accuracy["test"],
            "validation": v.accuracy["validation"],
            "latency_ms": v.measured("latency").value,
            "parameters": v.parameters,
            "macs": v.macs,
            "sparsity": v.sparsity,
        }
        for v in portfolio
    ]


def twins(portfolios: Mapping[tuple[str, int], "Portfolio"], names: Sequence[str]) -> list[dict[str, Any]]:
    """For each level of each method: test accuracy with inherited and with random weights, paired over seeds."""
    rows = []
    for name in (n for n in names if n + TWIN in names):
        seeds = [s for m, s in portfolios if m == name and (name + TWIN, s) in portfolios]
        levels = [v.name for v in portfolios[name, seeds[0]]][1:]
        for level in levels:
            pairs = [
                [portfolios[m, s].find(level).accuracy["test"] for m in (name, name + TWIN)] for s in seeds
            ]
            differences = [inherited - drawn for inherited, drawn in pairs]
            error = stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else None
            rows.append(
                {
                    "method": name,
                    "level": level,
                    "inherited": mean(p[0] for p in pairs),
                    "scratch": mean(p[1] for p in pairs),
                    "difference": mean(differences),
                    "standard_error": error,
                    "seeds": len(seeds),
                }
            )
    return rows
