# SPDX-License-Identifier: Apache-2.0
"""Held-out networks of a known device: latency of each member of the fleet, and peak memory.

The last 60 networks judge fits on the first 300: no form of a predictor was chosen on them. `--parts` holds out fifths
of all networks in turn instead. Networks that judge are unknown on every device. `--models` and `--members` narrow it
down.
"""

import argparse
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np

from bench.fleet.load import DATA, FRESH, MEMORY, TABLE, samples
from bench.record import Run, keep, table
from edgeshift.predict import MODELS
from edgeshift.predict.intervals import coverage
from edgeshift.predict.samples import Samples

MODEL_NAMES = ("macs", "count_ridge", "statistical", "stacked")
PARTS = 5
# Batch size at which each column of memory was measured; the graphs are at 1.
BATCHES = {name: {"batch_size": int(name.rpartition("_")[2])} for name in MEMORY}
COLUMNS = ["quantity", "member", "model", "mape", "within_10", "spearman", "coverage_90", "noise", "fit_s"]


def rank(values: np.ndarray) -> np.ndarray:
    """Ranks; ties do not occur among measured times."""
    return np.argsort(np.argsort(values)).astype(float)


def hidden(everything: Samples, part: np.ndarray) -> Samples:
    """The samples without the costs of some networks, on all devices."""
    cost = everything.cost.copy()
    cost[part] = np.nan
    return replace(everything, cost=cost)


def queries(everything: Samples, part: np.ndarray) -> Samples:
    """Some networks without costs."""
    return replace(
        everything,
        features=everything.features[part],
        networks=tuple(everything.networks[i] for i in part),
        cost=np.empty((len(part), 0)),
        devices=(),
        accuracy=None,
    )


def judge(
    everything: Samples, target: str, model: str, parts: int, options: dict[str, Any]
) -> dict[str, Any]:
    """Errors of a model on one member, every network predicted once by a fit that never saw it."""
    return judge_all(everything, target, {model: options}, parts)[0]


def judge_all(
    everything: Samples, target: str, models: dict[str, dict[str, Any]], parts: int
) -> list[dict[str, Any]]:
    """Errors of several models, and of their geometric mean where there are several."""
    truth = everything.column(target)
    order = np.random.default_rng(0).permutation(len(truth))
    held_out = np.array_split(order, PARTS)[:parts] if parts else [np.arange(FRESH, len(truth))]
    names = [*models, *(["+".join(models)] if len(models) > 1 else [])]
    guess = {name: np.full(len(truth), np.nan) for name in names}
    inside: dict[str, list[float]] = {name: [] for name in models}
    spent = dict.fromkeys(names, 0.0)
    for part in held_out:
        for model, options in models.items():
            begin = time.perf_counter()
            fitted = MODELS.make(model, **options).fit(hidden(everything, part), target)
            spent[model] += (time.perf_counter() - begin) / len(held_out)
            found = fitted.predict(queries(everything, part))
            guess[model][part] = found.value
            inside[model].append(coverage(found, truth[part]))
        if len(models) > 1:
            guess[names[-1]][part] = np.exp(np.mean([np.log(guess[m][part]) for m in models], axis=0))
    return [
        {
            "quantity": everything.quantity,
            "member": target,
            "model": name,
            **errors(guess[name], truth),
            "coverage_90": 100 * float(np.mean(inside[name])) if name in inside else None,
            "fit_s": spent[name] or sum(spent.values()),
        }
        for name in names
    ]


def errors(guess: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Over the networks that were predicted and measured."""
    known = ~np.isnan(guess) & ~np.isnan(truth)
    gap = np.abs(guess[known] / truth[known] - 1)
    return {
        "networks": int(known.sum()),
        "mape": 100 * float(gap.mean()),
        "within_10": 100 * float((gap <= 0.1).mean()),
        "spearman": float(np.corrcoef(rank(guess[known]), rank(truth[known]))[0, 1]),
    }


def main() -> None:
    """All members and models; a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", default="", help="comma-separated; all if left out")
    parser.add_argument("--models", default=",".join(MODEL_NAMES))
    parser.add_argument(
        "--parts", type=int, default=0, help="fifths held out in turn; 0 = the last 60 networks"
    )
    parser.add_argument("--trees", type=int, default=50)
    parser.add_argument("--no-record", action="store_true")
    given = parser.parse_args()
    rows = []
    for everything in (samples(), replace(samples(quantity="peak_memory"), profiles=BATCHES)):
        wanted = [m for m in given.members.split(",") if m] or list(everything.devices)
        for member in (m for m in wanted if m in everything.devices):
            if not given.parts and np.isnan(everything.column(member)[FRESH:]).all():
                print(f"{member}: the last networks were not measured on it")
                continue
            for model in given.models.split(","):
                options = {"trees": given.trees} if model in ("statistical", "stacked") else {}
                rows.append(judge(everything, member, model, given.parts, options))
                rows[-1]["noise"] = noise(member) if everything.quantity == "latency" else None
                print(table([rows[-1]], COLUMNS).splitlines()[-1], flush=True)
    print(table(rows, COLUMNS))
    if not given.no_record:
        keep(
            Run("predict_layers", SAYS, repeats="see the fleet's README", spread="none: errors"),
            rows,
            [*findings(rows), *repeats()],
        )


SAYS = (
    "Latency (ms) and peak memory (bytes) of networks that were measured on no device, on devices where 300 "
    "others were measured: mean absolute percentage error, share within 10 %, rank, coverage of 90 % intervals; "
    "noise: median absolute deviation of calls over their median."
)


def noise(member: str) -> float:
    """Median over networks of the calls' median absolute deviation, in percent."""
    with np.load(TABLE, allow_pickle=False) as found:
        at = [str(d) for d in found["devices"]].index(member)
        share = found["mad_ms"][:, at] / found["latency_ms"][:, at]
    return 100 * float(np.nanmedian(share))


def repeats() -> list[str]:
    """How far a second visit to the same networks is from the first."""
    with np.load(TABLE, allow_pickle=False) as found:
        mad = 100 * np.nanmedian((found["mad_ms"] / found["latency_ms"])[:, found["session"] == 2])
        place = {str(name): i for i, name in enumerate(found["networks"])}
        column = found["latency_ms"][:, [str(d) for d in found["devices"]].index("ort-t1-b1")]
    visits: dict[str, list[float]] = json.loads((DATA / "narrowed.json").read_text())
    gap = np.array([np.log(ms[0] / column[place[name]]) for name, ms in visits.items()])
    away = 100 * float(np.mean(np.abs(gap - np.median(gap))))
    return [
        f"Ceiling: calls of one visit are {mad:.1f} % apart (median absolute deviation over the median); {len(gap)} "
        f"networks opened and timed again on ort-t1-b1 half an hour later (best of three visits): {away:.1f} % away in "
        f"the mean, after a shift of {100 * np.median(gap):.1f} %."
    ]


def findings(rows: list[dict[str, Any]]) -> list[str]:
    """What the rows say, the bar of 5 % beside it."""
    found = []
    for quantity in ("latency", "peak_memory"):
        for model in dict.fromkeys(row["model"] for row in rows):
            mine = [r for r in rows if r["quantity"] == quantity and r["model"] == model]
            if mine:
                errors = sorted(row["mape"] for row in mine)
                met = sum(error <= 5 for error in errors)
                found.append(
                    f"{quantity}, {model}: MAPE {np.median(errors):.1f} % in the median of {len(errors)} columns "
                    f"({errors[0]:.1f} to {errors[-1]:.1f}); at most 5 % on {met}. Coverage of 90 % intervals "
                    f"{np.mean([r['coverage_90'] for r in mine if r['coverage_90'] is not None] or [np.nan]):.0f} %."
                )
                if quantity == "peak_memory":
                    each = ", ".join(f"{row['member']} {row['mape']:.1f} %" for row in mine)
                    found.append(f"peak_memory, {model}, column by column: {each}.")
    return found


if __name__ == "__main__":
    main()
