# SPDX-License-Identifier: Apache-2.0
"""The loop closed on the measured fleet: designs are chosen, built, measured, and do their limits hold?

    python -m bench.plan.closed_loop [--members ort-t1-b1,openvino-t1-b1] [--designs 600]

Designs are networks of the fleet's families that were never measured (their numbers follow those in the table). Each
member is planned for as a known device (`stacked` on its 300 measured networks) and as a new one (`device_net`: 20 of
its networks, the other runtimes' members as teachers). A limit is planned for twice: with four verifying measurements,
taken on the running member, and with the margin alone. The chosen design is then opened and timed again, and that is
what its limit must hold for. What is gained is the log of its MACs, which stands for accuracy: nobody trained them.
"""

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.fleet.load import FRESH, networks, samples
from bench.fleet.measure import Canary, timed
from bench.fleet.members import members, open_on
from bench.fleet.spaces import SPACES, Design, draw_one
from bench.predict.layers import queries
from bench.record import Run, keep, table
from edgeshift.plan.margin import best_guarded, verify
from edgeshift.predict import MODELS
from edgeshift.predict.network import count_matrix
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.sampling import choose

QUANTILES = (0.05, 0.15, 0.3, 0.5, 0.7, 0.9)
# Deviation of a member's log times from one opening of a network to the next.
REPEAT = 0.02
# Numbers of designs that no session of the fleet has drawn.
FIRST = 500


def candidates(count: int) -> list[Design]:
    """Designs of all families in equal parts."""
    each = -(-count // len(SPACES))
    return [draw_one(family, FIRST + i) for family in SPACES for i in range(each)][:count]


def predictions(everything: Samples, member: str, asked: Samples) -> dict[str, Prediction]:
    """The candidates' costs on a member, known and new."""
    cost = everything.cost.copy()
    cost[FRESH:] = np.nan
    known = replace(everything, cost=cost)
    found = {"known": MODELS.make("stacked").fit(known, member).predict(asked)}
    runtime = member.split("-")[0]
    kin = [d for d in known.devices if d.split("-")[0] == runtime and d != member]
    told = known.without(kin).only(np.arange(FRESH))
    place = told.devices.index(member)
    hidden = told.cost.copy()
    hidden[:, place] = np.nan
    rows = choose(replace(told, cost=hidden), member, 20)
    hidden[rows, place] = told.cost[rows, place]
    fitted = MODELS.make("device_net").fit(replace(told, cost=hidden), member)
    return found | {"new": fitted.predict(replace(asked, networks=()))}


def loop(
    member: str, designs: list[Design], found: dict[str, Prediction], gains: np.ndarray
) -> list[dict[str, Any]]:
    """Plan, build, measure, for every limit and way."""
    one = members()[member]
    if one.threads == 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    canary = Canary(os.sched_getaffinity(0))
    rows = []
    with tempfile.TemporaryDirectory() as name:

        def measure(place: int) -> float:
            return timed(open_on(one, designs[place], Path(name)), canary)["ms"]

        for device, prediction in found.items():
            for quantile in QUANTILES:
                limit = float(np.quantile(prediction.value, quantile))
                checked = verify(gains, prediction, limit, measure, 4, repeat=REPEAT)
                for way, place, said in (
                    ("verified", checked.place, checked.met),
                    ("margin", best_guarded(gains, prediction, limit), True),
                ):
                    took = measure(place)
                    rows.append(
                        {
                            "member": member,
                            "device": device,
                            "quantile": quantile,
                            "way": way,
                            "limit_ms": limit,
                            "design": designs[place].name,
                            "predicted_ms": float(prediction.value[place]),
                            "measured_ms": took,
                            "used": took / limit,
                            "said": bool(said),
                            "holds": bool(took <= limit),
                            "gain": float(gains[place]),
                            "verifying": len(checked.measured) if way == "verified" else 0,
                        }
                    )
    return rows


def main() -> None:
    """All members; a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--members", default="ort-t1-b1,ort-int8-t1-b1,openvino-t1-b1,torch-t1-b1,ncnn-t1-b1,mnn-t1-b1"
    )
    parser.add_argument("--designs", type=int, default=600)
    parser.add_argument(
        "--prepare", type=Path, help="Write the predictions there and stop; needs no quiet machine."
    )
    parser.add_argument("--prepared", type=Path, help="Read them.")
    given = parser.parse_args()
    designs = candidates(given.designs)
    if given.prepared:
        held = dict(np.load(given.prepared, allow_pickle=False))
    else:
        held = prepared(designs, given.members.split(","))
    if given.prepare:
        np.savez(given.prepare, **held)
        return
    rows = []
    for member in given.members.split(","):
        found = {
            device: Prediction(*(held[f"{member}/{device}/{end}"] for end in ("value", "low", "high")))
            for device in ("known", "new")
        }
        rows += loop(member, designs, found, held["gains"])
        print(table([r for r in rows if r["member"] == member], list(rows[0])), flush=True)
    findings = []
    for device in ("known", "new"):
        for way in ("verified", "margin"):
            mine = [r for r in rows if (r["device"], r["way"]) == (device, way)]
            held_share = 100 * np.mean([r["holds"] for r in mine])
            used = [100 * r["used"] for r in mine]
            findings.append(
                f"{device} device, {way}: {sum(r['holds'] for r in mine)} of {len(mine)} limits hold when the chosen "
                f"design is measured again ({held_share:.1f} %; target 95 %: "
                f"{'met' if held_share >= 95 else 'not met'}); it uses {np.median(used):.0f} % of "
                f"the limit in the median, {max(used):.0f} % at most; "
                f"{np.mean([r['verifying'] for r in mine]):.1f} verifying measurements."
            )
    findings.append(
        "Gain is the log of MACs and stands for accuracy: the designs were built and timed, not trained."
    )
    print(*findings, sep="\n")
    keep(
        Run(
            "plan_closed_loop",
            SAYS,
            repeats="each chosen design opened and timed once more",
            spread="none: shares",
        ),
        rows,
        findings,
    )


def prepared(designs: list[Design], wanted: list[str]) -> dict[str, np.ndarray]:
    """Gains and predictions by name, as arrays."""
    everything = samples()
    graphs = networks(designs)
    asked = replace(
        queries(everything, np.zeros(len(graphs), np.int64)), features=count_matrix(graphs), networks=graphs
    )
    held = {"gains": np.log([float(network.macs) for network in graphs])}
    for member in wanted:
        for device, p in predictions(everything, member, asked).items():
            held |= {f"{member}/{device}/{end}": getattr(p, end) for end in ("value", "low", "high")}
    return held


SAYS = (
    "Designs nobody measured are chosen for limits on members of the fleet, then built and measured: known devices "
    "(300 networks measured) and new ones (20), with four verifying measurements and with the margin alone."
)


if __name__ == "__main__":
    main()
