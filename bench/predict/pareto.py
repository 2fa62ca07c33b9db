# SPDX-License-Identifier: Apache-2.0
"""The target's Pareto front from 50 measurements, beside a proxy's front and what knowing every cost would give.

The 50 are the 20 calibrating and 30 verifying ones of the figure. All are taken on networks that may be on the front:
the first few tell prices apart, the rest in rounds, after each of which the predictor is fitted again with what was
measured. Two ceilings: the same rounds told every network's cost without noise (a fit of all of the target's own
measurements), and the front of a second measurement of every network that was measured twice.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bench.record import Run, keep, table
from edgeshift.core.registry import Shelf
from edgeshift.predict.hold_out import Trial, hide, split
from edgeshift.predict.models.device_net import DeviceNet
from edgeshift.predict.pareto import explore, front, recall, regret, worthwhile
from edgeshift.predict.samples import Samples
from edgeshift.predict.sampling import choose
from edgeshift.predict.teachers import teach

COLUMNS = ("device", "group", "way", "front", "measured", "recall", "regret", "worst")


def judged(accuracy: np.ndarray, cost: np.ndarray, true: np.ndarray, measured: np.ndarray) -> dict[str, Any]:
    """How much of the true front was measured, and the points lost without the rest."""
    lost = regret(accuracy, cost, true, measured)
    return {"front": len(true), "measured": len(measured), "recall": 100 * recall(true, measured),
            "regret": float(lost.mean()), "worst": float(lost.max())}  # fmt: skip


class Believed:
    """Possible cost tables, from a predictor fitted again with everything measured on the target so far."""

    def __init__(self, everything: Samples, device: str, seed: int, tables: int) -> None:
        trial = Trial(device, 0, seed)
        self.seen, self.rows = hide(everything, trial)[0], split(everything, trial)[0]
        self.queries = replace(everything, cost=np.empty((len(everything), 0)), devices=())
        self.everything, self.device, self.seed, self.tables = everything, device, seed, tables
        self.first: np.ndarray | None = None

    def told(self, found: Mapping[int, float], more: np.ndarray) -> Samples:
        """What the sources were measured on, then the rows `more`, with the target's costs so far."""
        rows = np.concatenate([self.rows, more])
        cost = np.vstack([self.seen.cost, np.full((len(more), self.seen.cost.shape[1]), np.nan)])
        place = self.seen.devices.index(self.device)
        cost[:, place] = [found.get(row, np.nan) for row in rows.tolist()]
        return replace(self.seen, features=self.everything.features[rows], cost=cost, accuracy=None)

    def start(self, count: int) -> np.ndarray:
        """Rows on some source's front, those first that tell the target's prices apart best."""
        accuracy = self.everything.accuracy
        assert accuracy is not None
        teachers = teach(self.seen, self.device, self.seed)
        rng = np.random.default_rng(self.seed)
        rows = []
        for view, price in zip(teachers.views, teachers.prices, strict=True):
            made = np.maximum(teachers.encoder.sums(self.queries, view) @ price, 1e-3)
            for _ in range(4):
                rows.append(worthwhile(accuracy, made * np.exp(DOUBT * rng.normal(size=len(made))), WITHIN))
        pool = np.unique(np.concatenate(rows))
        given = self.told({}, pool)
        places = np.arange(len(self.rows), len(given))
        return pool[choose(given, self.device, count, "variance", self.seed, places) - len(self.rows)]

    def __call__(self, found: Mapping[int, float]) -> np.ndarray:
        """`(tables, n)`."""
        given = self.told(found, np.setdiff1d(np.array(sorted(found), np.int64), self.rows))
        fitted = DeviceNet(rehearsals=0, refits=0).fit(given, self.device, self.seed)
        if self.first is None and len(found) >= FIRST:
            self.first = fitted.predict(self.queries).value
        return np.exp(fitted.tables(self.queries, self.tables, self.seed))


def noise_free(samples: Samples, device: str) -> tuple[np.ndarray, float]:
    """What every network costs on average, by a fit of all of the device's measurements; their noise in log units."""
    cost = samples.column(device)
    x = np.hstack([np.ones((len(samples), 1)), samples.features])
    scaled = np.vstack([x / cost[:, None], 1e-4 * np.eye(x.shape[1])])
    made = x @ np.linalg.lstsq(scaled, np.r_[np.ones(len(x)), np.zeros(x.shape[1])], rcond=None)[0]
    gap = np.log(cost / made)
    return made, float(np.median(np.abs(gap - np.median(gap))) / 0.6745)


OURS, TOLD = "in rounds, 50 measured", "ceiling: in rounds, told every cost without noise"
TWICE = "ceiling: front of a second measurement"
FIRST_FRONT = "front predicted from the first 20, all measured"
CLEAN = "chips that chose nothing"
CHOSEN_ON = ("1080ti", "2080ti", "titanx", "gold_6240", "essential_ph_1", "pixel3", "silver_4114")
# Points below the best network within which a budget's optimum counts; measurements for the first predicted front.
WITHIN, FIRST = 10.0, 20
# Log units by which a source's cost is shaken to find networks that may be on the front.
DOUBT = 0.05


def main() -> None:
    """Run and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--devices", default="", help="comma-separated; all if left out")
    parser.add_argument("--start", type=int, default=5, help="measured before the first round")
    parser.add_argument("--round", type=int, default=5, help="measured in a round")
    parser.add_argument("--measured", type=int, default=50)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--proxy", default="pixel3")
    given = parser.parse_args()
    fleet = (
        Shelf("latency set", "predict/sets").make("help_nasbench201", accuracy="cifar100_test_200ep").open()
    )
    samples = fleet.samples.without(fleet.composed)
    accuracy = samples.accuracy
    assert accuracy is not None
    rows: list[dict[str, Any]] = []
    seeds = tuple(range(given.first_seed, given.first_seed + given.seeds))

    def rounds(known: int) -> list[int]:
        return [min(given.round, given.measured - at) for at in range(known, given.measured, given.round)]

    for device in given.devices.split(",") if given.devices else samples.devices:
        cost = samples.column(device)
        true = worthwhile(accuracy, cost, WITHIN)
        made, noise = noise_free(samples, device)
        for seed in seeds:
            tables = Believed(samples, device, seed, given.tables)
            begun = {int(row): float(cost[row]) for row in tables.start(given.start)}
            rng = np.random.default_rng(seed)

            def measure(row: int, cost: np.ndarray = cost) -> float:
                return float(cost[row])

            def told(
                _: Mapping[int, float], made: np.ndarray = made, noise: float = noise, rng: np.random.Generator = rng
            ) -> np.ndarray:  # fmt: skip
                shaken: np.ndarray = made * np.exp(noise * rng.normal(size=(given.tables, len(made))))
                return shaken

            found = explore(accuracy, begun, tables, measure, rounds(given.start), WITHIN)
            assert tables.first is not None
            ways = {
                OURS: np.array(sorted(found)),
                TOLD: np.array(sorted(explore(accuracy, {}, told, measure, rounds(0), WITHIN))),
                FIRST_FRONT: front(accuracy, tables.first),
            }
            if samples.family(device) != samples.family(given.proxy):
                ways[f"front of {given.proxy}, all measured"] = front(accuracy, samples.column(given.proxy))
            for way, measured in ways.items():
                rows.append(
                    {"device": device, "group": fleet.groups[device], "way": way, "seed": seed,
                     "noise": 100 * noise, **judged(accuracy, cost, true, measured)}
                )  # fmt: skip
        first, second = (np.array(places) for places in zip(*fleet.pairs, strict=True))
        rows.append(
            {"device": device, "group": fleet.groups[device], "way": TWICE, "seed": seeds[0], "noise": 100 * noise,
             **judged(accuracy[first], cost[first], worthwhile(accuracy[first], cost[first], WITHIN),
                      front(accuracy[first], cost[second]))}
        )  # fmt: skip
        print(table([r for r in rows if r["device"] == device], COLUMNS), flush=True)
    lines = []
    for group in ("all", CLEAN, *sorted({r["group"] for r in rows})):
        for way in sorted({r["way"] for r in rows}):
            mine = [
                r for r in rows
                if r["way"] == way and (group in ("all", r["group"])
                                        or (group == CLEAN and samples.family(r["device"]) not in CHOSEN_ON))
            ]  # fmt: skip
            if mine:
                lines.append(
                    {"device": f"{len({r['device'] for r in mine})} devices", "group": group, "way": way,
                     "front": float(np.mean([r["front"] for r in mine])),
                     "measured": float(np.mean([r["measured"] for r in mine])),
                     "recall": float(np.mean([r["recall"] for r in mine])),
                     "regret": float(np.mean([r["regret"] for r in mine])),
                     "worst": float(np.max([r["worst"] for r in mine]))}
                )  # fmt: skip
    print(table(lines, COLUMNS))
    said = [
        _sentence(x)
        for x in lines
        if x["way"] in (OURS, TOLD, TWICE, FIRST_FRONT) and x["group"] in ("all", CLEAN)
    ]
    mine = [r for r in rows if r["way"] == OURS]
    each = {d: [r for r in mine if r["device"] == d] for d in dict.fromkeys(r["device"] for r in mine)}
    for name, goal, met in (
        ("recall", "at least 75 %", lambda rs: np.mean([r["recall"] for r in rs]) >= 75),
        ("regret", "at most 0.1", lambda rs: np.mean([r["regret"] for r in rs]) <= 0.1),
    ):
        reached = [d for d, rs in each.items() if met(rs)]
        said.append(
            f"Mean {name} {goal} on {len(reached)} of {len(each)} devices: {', '.join(reached) or 'none'}."
        )
    told_all = next(x for x in lines if x["way"] == TOLD and x["group"] == "all")
    if told_all["recall"] < 75 or told_all["regret"] > 0.1:
        said.append(
            "The goal of 75 % and 0.1 points is beyond 50 single measurements of this set's noise: who is told every "
            "cost without noise does not reach it either. Among networks whose costs differ by less than the noise, "
            "chance decides which is on the front."
        )
    if given.no_record:
        print(*said, sep="\n")
        return
    keep(
        Run(
            claim="predict_pareto_nasbench201",
            says="NAS-Bench-201, CIFAR-100 test accuracy after 200 epochs; budgets whose optimum is within 10 points "
            "of the best network; each device held out with its family. Recall: share of the true front measured; "
            f"regret: points lost at a front member's own cost. {given.measured} measurements in all, "
            f"{given.start} before the first round, {given.round} a round: the form was chosen on the chips "
            f"{', '.join(CHOSEN_ON)} (one seed), whose rows flatter us a little; the other chips chose nothing.",
            seeds=seeds,
            repeats="every seed another split",
            spread="worst = largest loss at any budget, device and seed",
        ),
        [*lines, *rows],
        said,
    )


def _sentence(line: dict[str, Any]) -> str:
    return (
        f"{line['way']}, {line['device']} ({line['group']}): recall {line['recall']:.0f} %, mean regret "
        f"{line['regret']:.2f} points, worst {line['worst']:.1f}, {line['measured']:.0f} measured of a front of "
        f"{line['front']:.0f}; goal 75 % and 0.1; bar 48 % and 0.41."
    )


if __name__ == "__main__":
    main()
