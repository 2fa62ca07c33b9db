# SPDX-License-Identifier: Apache-2.0
"""Of the channels that brute force says do nothing, how many go, and why do the others stay?

python -m bench.shrink.oracle [--networks 1000] [--keep]
"""

import argparse
import random
import time
from collections import Counter
from typing import Any

import torch

from bench.record import Run, keep, table
from edgeshift.graph import shrink
from tests.graph.oracle import share
from tests.graph.random_networks import draw_network

COLUMNS = ("seed", "steps", "dead", "removed", "excused", "missed", "beyond")


def measure(seed: int) -> dict[str, Any]:
    """One row: a random network, what brute force says of it, and what went."""
    steps = 4 + seed % 12
    drawn = draw_network(random.Random(seed).choice, steps=steps, poison=False)
    small = shrink(drawn.model, drawn.example, prove_it=False).model
    found = share(drawn.model, small, drawn.example)
    return {
        "seed": seed,
        "steps": steps,
        "dead": found.dead,
        "removed": found.removed,
        "excused": sum(found.excused.values()),
        "missed": sum(found.missed.values()),
        "beyond": sum(found.beyond.values()),
        "reasons": found.excused,
    }


def findings(rows: list[dict[str, Any]]) -> list[str]:
    """Sums over all networks, one sentence each."""
    dead, removed, missed, beyond = (sum(r[k] for r in rows) for k in ("dead", "removed", "missed", "beyond"))
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update(row["reasons"])
    held = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    share_of_all, share_of_free = removed / max(1, dead), removed / max(1, removed + missed)
    return [
        f"{len(rows)} networks, {dead} channels that do nothing: {removed} removed ({share_of_all:.1%}).",
        f"{sum(reasons.values())} stay for a reason: {held}.",
        f"{missed} stay without one: {share_of_free:.2%} of what the rules allow is removed.",
        f"{beyond} removed that brute force saw matter.",
    ]


def main() -> None:
    """Measure, print, and keep the record if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=1000, help="how many seeds, from 0")
    parser.add_argument("--keep", action="store_true", help="write bench/records/oracle")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    rows = [measure(seed) for seed in range(arguments.networks)]
    odd = [r for r in rows if r["missed"] or r["beyond"]]
    if odd:
        print(table(odd, COLUMNS))
    said = findings(rows)
    print("\n".join([*said, f"{time.perf_counter() - start:.0f} s"]))
    if arguments.keep:
        says = "Share of the channels that do nothing, by brute force, that exact shrinking removes."
        keep(Run("oracle", says, seeds=(0, arguments.networks - 1)), rows, said)


if __name__ == "__main__":
    main()
