# SPDX-License-Identifier: Apache-2.0
"""Choices on unseen NAS-Bench-201 devices, judged by the true tables: violations, regret, time.

    python -m bench.plan.nb201 [--devices gold_6226,raspi4] [--seeds 0,1]

A device is new: nothing of its family is learnt from, 20 of its latencies are seen. Limits are the 10, 25, 50 and 75 %
quantiles of its latencies. Accuracy (CIFAR-100 test, 200 epochs) is either known, as a property of the network that no
device changes, or guessed from 1,000 networks. Truth is what the tables hold.
"""

import argparse
from dataclasses import replace
from itertools import product

import numpy as np

from bench.record import Run, keep, table
from edgeshift.plan.choose import Asked, Target, decide, hold_out
from edgeshift.plan.limits import Limit
from edgeshift.predict.samples import Samples
from edgeshift.predict.sets.help_nasbench201 import HelpNasbench201
from edgeshift.predict.smooth import process

QUANTILES = (0.1, 0.25, 0.5, 0.75)
# Name -> (verifying measurements, deviations of margin).
WAYS = {"predicted": (0, 0.0), "margin": (0, 1.3), "verified": (4, 1.3)}


# Ways from a cell's input to its output, as places of edges.
WAYS_THROUGH = ((3,), (0, 4), (1, 5), (0, 2, 5))
# Networks whose accuracy is known: drawn at random, then chosen in rounds.
DRAWN, CHOSEN, ROUNDS, CLASSES = 500, 250, 2, 25


def paths(samples: Samples) -> np.ndarray:
    """`(n, 40)`: how often each sequence of convolutions and pools leads through a cell, skips left out."""
    columns = [i for i, name in enumerate(samples.feature_names) if name.startswith("at/")]
    kinds = [samples.feature_names[i].partition("_")[2] for i in columns[:5]]
    places = {way: i for i, way in enumerate(w for k in range(4) for w in product(kinds[2:], repeat=k))}
    cells = samples.features[:, columns].reshape(len(samples), 6, 5).argmax(2)
    found = np.zeros((len(samples), len(places)))
    for row, cell in zip(found, cells, strict=True):
        for way in WAYS_THROUGH:
            names = [kinds[cell[edge]] for edge in way]
            if kinds[0] not in names:
                row[places[tuple(n for n in names if n != kinds[1])]] += 1
    return found


def guessed(samples: Samples, seed: int) -> np.ndarray:
    """Accuracies from 1,000 networks, which keep their own: half drawn, half chosen.

    A Gaussian process on the log of the error, over the paths through a cell (White et al., AAAI 2021,
    https://arxiv.org/abs/1910.11858) and counts of its live part. Chosen is, twice, what is predicted to be most
    accurate among cells of like MACs: no device is looked at. The encoding was chosen on seeds 100 to 102.
    """
    live = [i for i, name in enumerate(samples.feature_names) if name.startswith("live/")]
    x = np.hstack([paths(samples), samples.features[:, live]])
    macs = samples.features[:, samples.feature_names.index("live/log_macs")]
    truth = np.asarray(samples.accuracy, float)
    known = np.random.default_rng(seed).choice(len(samples), DRAWN, replace=False)
    classes = np.array_split(np.argsort(macs, kind="stable"), CLASSES)
    for turn in range(ROUNDS + 1):
        found = 101 - np.exp(-process(x[known], -np.log(101 - truth[known]))(x))
        found[known] = truth[known]
        if turn < ROUNDS:
            free = np.where(np.isin(np.arange(len(x)), known), -np.inf, found)
            best = [c[np.argsort(-free[c], kind="stable")[: CHOSEN // CLASSES]] for c in classes]
            known = np.concatenate([known, *best])
    return found


def judged(target: Target, asked: Asked, believed: np.ndarray) -> dict[str, float]:
    """One decision; accuracy that is believed chooses, the table's own judges."""
    trial = decide(replace(target, accuracy=believed), asked)
    inside = target.truth <= asked.limits[0].value
    optimum = float(np.where(inside, target.accuracy, -np.inf).max())
    own = float(target.accuracy[trial.row])
    return {
        "over": float(not trial.met),
        "unsaid": float(trial.said_met and not trial.met),
        "regret": 100 * (optimum - own),
        "ms": trial.decide_ms,
        "measurements": trial.measurements,
    }


def main() -> None:
    """Plan, judge, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--devices", default="", help="Names, separated by commas; empty = all that were measured."
    )
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--predictor", default="device_net")
    words = parser.parse_args()
    fleet = HelpNasbench201(accuracy="cifar100_test_200ep").open()
    samples = fleet.samples
    devices = words.devices.split(",") if words.devices else fleet.measured()
    seeds = [int(s) for s in words.seeds.split(",")]
    rows = []
    beliefs_of = {seed: guessed(samples, seed) / 100 for seed in seeds}
    for device in devices:
        for seed in seeds:
            asked = Asked((Limit("latency", 1.0),), predictor=words.predictor, seed=seed)
            target = hold_out(samples, device, asked)
            beliefs = {"known": target.accuracy, "guessed": beliefs_of[seed]}
            for quantile in QUANTILES:
                limit = Limit("latency", float(np.nanquantile(target.truth, quantile)))
                for way, (count, multiple) in WAYS.items():
                    for belief, accuracy in beliefs.items():
                        one = replace(asked, limits=(limit,), verify=count, multiple=multiple)
                        found = judged(target, one, accuracy)
                        rows.append(
                            {"device": device, "group": fleet.groups[device], "seed": seed, "quantile": quantile,
                             "way": way, "accuracy": belief, **found}
                        )  # fmt: skip
        print(device, flush=True)
    means = summary(rows, ("way", "accuracy"))
    print(table(means, list(means[0])))
    by_group = summary([r for r in rows if r["way"] == "verified" and r["accuracy"] == "known"], ("group",))
    print(table(by_group, list(by_group[0])))
    findings = [
        f"{m['way']}, accuracy {m['accuracy']}: {m['over']:.1f} % of picks over the limit ({m['unsaid']:.1f} % without "
        f"a word), mean regret {m['regret']:.2f} points, {m['ms']:.1f} ms a decision, {m['picks']} picks."
        for m in means
    ]
    findings += [f"{m['group']}: {m['over']:.1f} % over, regret {m['regret']:.2f} points." for m in by_group]
    findings.append(
        "Targets: at most 5 % over the limit, regret at most 0.5 points with 4 verifying measurements and the margin."
        " Regret counts picks inside the limit; a pick over it is counted as over."
    )
    run = Run(
        "plan_nb201",
        "Choices for unseen devices on NAS-Bench-201, judged by the true latency and accuracy tables.",
        seeds=tuple(seeds),
        repeats="once per device, seed and limit",
        spread="none",
    )
    keep(run, [*means, *by_group, *rows], findings)
    print(*findings, sep="\n")


def summary(rows: list[dict[str, object]], keys: tuple[str, ...]) -> list[dict[str, object]]:
    """Means by some columns."""
    found = []
    for group in sorted({tuple(r[k] for k in keys) for r in rows}, key=str):
        mine = [r for r in rows if tuple(r[k] for k in keys) == group]
        kept = [r["regret"] for r in mine if not r["over"]]
        found.append(
            {
                **dict(zip(keys, group, strict=True)),
                "picks": len(mine),
                "over": 100 * float(np.mean([r["over"] for r in mine])),
                "unsaid": 100 * float(np.mean([r["unsaid"] for r in mine])),
                "regret": float(np.mean(kept)),
                "worst": float(np.max(kept)),
                "ms": float(np.median([r["ms"] for r in mine])),
                "measurements": float(np.mean([r["measurements"] for r in mine])),
            }
        )
    return found


if __name__ == "__main__":
    main()
