# SPDX-License-Identifier: Apache-2.0
"""The neural optimizer on NAS-Bench-201, unseen device families, judged by the true tables.

    python -m bench.plan.nb201_neural [--families titan_rtx,gold_6226] [--seeds 0,1]

The optimizer is trained once per family through frozen predictors: accuracy, and a network of (cell, descriptor of 20
reference latencies) that saw 900 cells on the other families' devices. On a device of the family it names designs for
the limits, which are the 10, 25, 50 and 75 % quantiles of the device's latencies. `device_net`, fitted to the same 20
measurements, says what each will take, and four of them are measured. Beside it: every cell of the space through the
same two predictors. Accuracy (CIFAR-100 test, 200 epochs) is known, or guessed from 1,000 cells.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np

from bench.plan.nb201 import QUANTILES, guessed
from bench.record import Run, keep, table
from edgeshift.plan.margin import verify
from edgeshift.plan.net import Fitting, Net, fit, fresh
from edgeshift.plan.neural import Family, Proposer, device_front
from edgeshift.plan.spaces.nb201 import Nb201
from edgeshift.plan.teach import Teaching, teach
from edgeshift.predict import MODELS
from edgeshift.predict.samples import Prediction
from edgeshift.predict.sets.help_nasbench201 import HelpNasbench201
from edgeshift.predict.sets.shape import Fleet

SPACE = Nb201()
REFERENCES, KNOWN = 20, 900
TEACHING = Teaching(steps=1500, heads=2, samples=8000, experts=16, expert_rounds=30, expert_children=100)


class Cells:
    """Rows of the table by design; a dead cell stands for the row that costs most and gains nothing."""

    def __init__(self, fleet: Fleet) -> None:
        self.row = np.full(5**6, -1)
        # The benchmark's numbers count its own order of operations, which the designs follow.
        ops = np.array(np.unravel_index(np.arange(5**6), (5,) * 6)).T
        self.places = 5 ** np.arange(5, -1, -1)
        cells = {tuple(cell): i for i, cell in enumerate(ops.tolist())}
        for at, cell in enumerate(cells_of(fleet).tolist()):
            self.row[cells[tuple(cell)]] = at

    def __call__(self, designs: np.ndarray) -> np.ndarray:
        """`(n,)` rows, -1 for dead cells."""
        found: np.ndarray = self.row[designs @ self.places]
        return found


def cells_of(fleet: Fleet) -> np.ndarray:
    """`(n, 6)` operations of the table's rows, from their one-hot features."""
    names = fleet.samples.feature_names
    columns = [i for i, name in enumerate(names) if name.startswith("at/")]
    code = fleet.samples.features[:, columns].reshape(len(fleet.samples), 6, 5)
    assert (code.sum(2) == 1).all()
    found: np.ndarray = code.argmax(2)
    return found


def inputs(fleet: Fleet) -> np.ndarray:
    """`(n, d)` features of the rows, standardised."""
    x = fleet.samples.features
    found: np.ndarray = ((x - x.mean(0)) / np.maximum(x.std(0), 1e-9)).astype(np.float32)
    return found


def descriptor(latencies: np.ndarray) -> tuple[np.ndarray, float, float]:
    """`(21,)` of a device from its references, and mean and spread of their logs."""
    y = np.log(latencies)
    m, s = float(y.mean()), float(y.std())
    return np.concatenate([(y - m) / s, [np.log(s)]]), m, s


class Latency:
    """Designs and descriptors -> log latency in standard units of the device."""

    def __init__(self, net: Net, x: np.ndarray, cells: Cells) -> None:
        self.net, self.x, self.cells = net, x, cells

    def __call__(self, designs: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        """`(n,)`; of dead cells 9, more than any limit."""
        rows = self.cells(designs)
        given = np.concatenate([self.x[rows], descriptors.astype(np.float32)], 1)
        return np.where(rows < 0, 9.0, self.net(given)[:, 0].astype(float))


def latency_net(
    fleet: Fleet, sources: list[str], references: np.ndarray, known: np.ndarray, seed: int
) -> Net:
    """From features and descriptor to standard units, devices mixed and with noise."""
    rng = np.random.default_rng(seed)
    x, cost = inputs(fleet), np.log(fleet.samples.cost)
    at = [fleet.samples.devices.index(d) for d in sources]
    codes = [descriptor(fleet.samples.cost[references, j]) for j in at]
    first, second = (rng.integers(0, len(at), 24_000) for _ in range(2))
    share, rows = rng.random(24_000) * 0.5, rng.choice(known, 24_000)
    q = np.array([c[0] for c in codes])
    y = np.array([(cost[:, j] - m) / s for j, (_, m, s) in zip(at, codes, strict=True)])
    mixed = (
        q[first] * (1 - share)[:, None]
        + q[second] * share[:, None]
        + rng.normal(0, 0.1, (24_000, q.shape[1]))
    )
    goal = y[first, rows] * (1 - share) + y[second, rows] * share
    given = np.concatenate([x[rows], mixed.astype(np.float32)], 1)
    start = fresh((given.shape[1], 128, 64, 1), rng)
    return fit(start, given, goal.astype(np.float32)[:, None], Fitting(30, 256), rng)


def part(p: Prediction, rows: np.ndarray) -> Prediction:
    """The prediction of some rows."""
    return replace(p, value=p.value[rows], low=p.low[rows], high=p.high[rows])


def main() -> None:
    """Train, decide, judge, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--families", default="titan_rtx,2080ti,gold_6226,silver_4114,pixel2,samsung_a50,raspi4"
    )
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--no-record", action="store_true")
    words = parser.parse_args()
    fleet = HelpNasbench201(accuracy="cifar100_test_200ep").open()
    cells, x = Cells(fleet), inputs(fleet)
    truth = np.asarray(fleet.samples.accuracy, float)
    rows: list[dict[str, Any]] = []
    guesses = {seed: guessed(fleet.samples, seed) for seed in map(int, words.seeds.split(","))}
    for family in words.families.split(","):
        targets = [d for d in fleet.measured() if d == family or d.startswith(f"{family}_")]
        sources = [d for d in fleet.measured() if d not in targets]
        for seed in map(int, words.seeds.split(",")):
            rng = np.random.default_rng(1000 + seed)
            drawn = rng.permutation(len(truth))[:KNOWN]
            known, references = np.sort(drawn), np.sort(drawn[:REFERENCES])
            latency = Latency(latency_net(fleet, sources, references, known, seed), x, cells)
            codes = np.array([descriptor(fleet.samples.column(d)[references])[0] for d in sources])
            for belief, accuracy in (("known", truth), ("guessed", guesses[seed])):
                worth = accuracy.copy()

                def gain(designs: np.ndarray, worth: np.ndarray = worth) -> np.ndarray:
                    at = cells(designs)
                    return np.where(at < 0, 0.0, worth[at])

                one = Family(SPACE, gain, (latency,), codes)
                start = time.process_time()
                proposer = teach(one, TEACHING, seed)
                trained = time.process_time() - start
                for device in targets:
                    rows += [
                        {"family": family, "device": device, "group": fleet.groups[device], "seed": seed,
                         "accuracy": belief, "training_s": trained, **found}
                        for found in decided(fleet, one, proposer, device, references, accuracy, cells, seed)
                    ]  # fmt: skip
        print(table(summary([r for r in rows if r["family"] == family]), COLUMNS), flush=True)
    lines = summary(rows)
    print(table(lines, COLUMNS))
    findings = [
        f"{m['way']}, accuracy {m['accuracy']}: {m['over']:.1f} % of picks over the limit, {m['unsaid']:.1f} % without "
        f"a word (target 5 %), mean regret {m['regret']:.2f} points (target 0.5), {m['ms']:.2f} ms a design, "
        f"{m['picks']} picks."
        for m in lines
    ]
    findings.append(
        "Regret counts picks inside the limit; accuracy that is guessed chooses, the table's own judges. Training: "
        f"{np.mean([r['training_s'] for r in rows]):.0f} s of CPU a family."
    )
    print(*findings, sep="\n")
    if words.no_record:
        return
    run = Run(
        "plan_nb201_neural",
        "The neural optimizer on NAS-Bench-201 for unseen device families, four verifying measurements, true tables.",
        seeds=tuple(map(int, words.seeds.split(","))),
        repeats="one design a limit; ms: processor time, median of 20",
        spread="none",
    )
    keep(run, [*lines, *rows], findings)


COLUMNS = ("way", "accuracy", "picks", "over", "unsaid", "regret", "worst", "offers", "ms")


def decided(
    fleet: Fleet,
    family: Family,
    proposer: Proposer,
    device: str,
    references: np.ndarray,
    accuracy: np.ndarray,
    cells: Cells,
    seed: int,
) -> list[dict[str, Any]]:
    """Picks for every limit of one device."""
    samples = fleet.samples
    cost, true = samples.column(device), np.asarray(samples.accuracy, float)
    code, m, s = descriptor(cost[references])
    told = samples.without(
        [d for d in samples.devices if d != device and samples.family(d) == samples.family(device)]
    )
    seen = told.cost.copy()
    seen[:, told.devices.index(device)] = np.nan
    seen[references, told.devices.index(device)] = cost[references]
    prediction = MODELS.make("device_net").fit(replace(told, cost=seen), device, seed).predict(told)
    used = []
    for _ in range(20):
        start = time.thread_time()
        front = device_front(proposer, family, code)
        used.append(1e3 * (time.thread_time() - start))
    offers = np.unique(cells(front.designs))
    offers = offers[offers >= 0]
    rows = []
    for quantile in QUANTILES:
        limit = float(np.nanquantile(cost, quantile))
        best = float(true[cost <= limit].max())
        inside = front.pick(np.array([(np.log(limit) - m) / s]))
        if inside is not None:
            place = int(cells(front.designs[inside][None])[0])
            rows.append(_row("neural, unverified", quantile, place, cost, true, limit, best, said=True)
                        | {"offers": len(offers), "ms": float(np.median(used))})  # fmt: skip
        for way, candidates in (
            ("neural, 4 verified", offers),
            ("every cell, 4 verified", np.arange(len(cost))),
        ):
            # The 20 references were measured: they may be chosen too.
            among = np.union1d(candidates, references)
            before = {int(np.searchsorted(among, r)): float(cost[r]) for r in references}
            start = time.thread_time()
            checked = verify(
                accuracy[among],
                part(prediction, among),
                limit,
                lambda i, among=among: float(cost[among[i]]),
                4,
                before,
            )
            spent = 1e3 * (time.thread_time() - start)
            more = float(np.median(used)) if way.startswith("neural") else 0.0
            place = int(among[checked.place])
            rows.append(_row(way, quantile, place, cost, true, limit, best, said=checked.met)
                        | {"offers": len(candidates), "ms": spent + more})  # fmt: skip
    return rows


def _row(
    way: str,
    quantile: float,
    place: int,
    cost: np.ndarray,
    true: np.ndarray,
    limit: float,
    best: float,
    *,
    said: bool,
) -> dict[str, Any]:
    over = bool(cost[place] > limit)
    return {"way": way, "quantile": quantile, "over": float(over), "unsaid": float(over and said),
            "regret": best - float(true[place])}  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means per way and belief."""
    lines = []
    for way, belief in dict.fromkeys((r["way"], r["accuracy"]) for r in rows):
        mine = [r for r in rows if (r["way"], r["accuracy"]) == (way, belief)]
        kept = [r["regret"] for r in mine if not r["over"]]
        lines.append(
            {"way": way, "accuracy": belief, "picks": len(mine),
             "over": 100 * float(np.mean([r["over"] for r in mine])),
             "unsaid": 100 * float(np.mean([r["unsaid"] for r in mine])),
             "regret": float(np.mean(kept)), "worst": float(np.max(kept)),
             "offers": float(np.mean([r["offers"] for r in mine])), "ms": float(np.median([r["ms"] for r in mine]))}
        )  # fmt: skip
    return lines


if __name__ == "__main__":
    main()
