# SPDX-License-Identifier: Apache-2.0
"""A million switches under load: is every answer that of the variant it names, what does a switch cost?

    python -m bench.runtime.switching DIR
    python -m bench.runtime.switching DIR --switches 10000 --pairs 50

DIR gets portfolios of ResNet-20 and VGG-16 at four widths (`bench.runtime.made`). Four threads switch at random and
ask meanwhile, twenty switches to a request; each answer is compared bit by bit with the same input run alone on the
variant that the answer names. A switch is timed from outside by the wall clock and by the processor time of its
thread: Python lets one thread run at a time, and one that has to hand over in the middle of a switch waits half a
millisecond or more, which is no work of the switch. Then, for every ordered pair of variants, the first answer after
a switch is timed against the steady ones of that variant, in turns.
"""

import argparse
import gc
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.record import Run, keep, table
from bench.runtime.made import INPUT, portfolio
from edgeshift.core.card import Card
from edgeshift.runtime import Engine, Switcher
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, State

THREADS, PER_REQUEST, INPUTS = 4, 20, 8
# What a server sets: how long a thread keeps the interpreter while others wait.
SWITCH_INTERVAL_S = 0.0005


@dataclass(frozen=True)
class Stay(Policy):
    """Whatever is active; the threads switch."""

    card: ClassVar[Card] = Card("stay", "Stays with what is active.", "house rule")

    def choose(self, state: State, ladder: Ladder) -> Decision:
        """See `Policy.choose`."""
        return Decision(state.active, "stay")


@dataclass
class Client:
    """One thread: switches, asks, compares."""

    switcher: Switcher
    names: list[str]
    inputs: list[NDArray[Any]]
    right: dict[tuple[str, int], bytes]
    switches: int
    seed: int

    def __post_init__(self) -> None:
        self.took = np.zeros(self.switches, np.int64)
        self.worked = np.zeros(self.switches, np.int64)
        self.asked = self.wrong = self.errors = 0

    def __call__(self) -> None:
        """Do it all."""
        source = random.Random(self.seed)
        now, used = time.perf_counter_ns, time.thread_time_ns
        for at in range(self.switches):
            name = source.choice(self.names)
            began = used()
            start = now()
            self.switcher.switch(name)
            self.took[at] = now() - start
            self.worked[at] = used() - began
            if at % PER_REQUEST == 0:
                self.ask(source.randrange(INPUTS))

    def ask(self, which: int) -> None:
        """One request, compared."""
        try:
            answer = self.switcher.run(self.inputs[which])
        except Exception as error:  # counted, and the run goes on
            print(f"error: {error}", file=sys.stderr)
            self.errors += 1
            return
        self.asked += 1
        self.wrong += answer.outputs["output"].tobytes() != self.right[answer.variant, which]


def under_load(folder: Path, switches: int) -> dict[str, Any]:
    """Switches from four threads while they ask."""
    source = np.random.default_rng(0)
    inputs = [source.standard_normal((1, *INPUT), dtype=np.float32) for _ in range(INPUTS)]
    with Engine(folder) as engine, Switcher(engine, Stay(), queue_limit=1024) as switcher:
        names = [p.name for p in engine.ladder.profiles]
        right = {
            (name, i): engine.run(x, name).outputs["output"].tobytes()
            for name in names
            for i, x in enumerate(inputs)
        }
        clients = [
            Client(switcher, names, inputs, right, switches // THREADS, seed) for seed in range(THREADS)
        ]
        threads = [threading.Thread(target=client) for client in clients]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
        found = switcher.snapshot()
    took = np.concatenate([client.took for client in clients]) / 1e3
    worked = np.concatenate([client.worked for client in clients]) / 1e3
    return {
        "what": "under load",
        "variants": len(names),
        "switch_calls": len(took),
        "switches": found.switches,
        "requests": sum(c.asked for c in clients),
        "errors": sum(c.errors for c in clients),
        "wrong_answers": sum(c.wrong for c in clients),
        "switch_p50_us": float(np.percentile(took, 50)),
        "switch_p99_us": float(np.percentile(took, 99)),
        "switch_p999_us": float(np.percentile(took, 99.9)),
        "switch_max_us": float(took.max()),
        "processor_p50_us": float(np.percentile(worked, 50)),
        "processor_p99_us": float(np.percentile(worked, 99)),
        "under_10_us": float((took < 10).mean()),
        "seconds": seconds,
    }


def alone(folder: Path, count: int) -> dict[str, Any]:
    """What a switch costs when nobody else wants the interpreter."""
    with Engine(folder) as engine, Switcher(engine, Stay()) as switcher:
        names = [p.name for p in engine.ladder.profiles]
        took = np.zeros(count, np.int64)
        for at in range(count):
            start = time.perf_counter_ns()
            switcher.switch(names[at % len(names)])
            took[at] = time.perf_counter_ns() - start
    took = took / 1e3
    return {
        "what": "alone",
        "switch_calls": count,
        "switch_p50_us": float(np.percentile(took, 50)),
        "switch_p99_us": float(np.percentile(took, 99)),
        "switch_max_us": float(took.max()),
    }


def first_answers(folder: Path, network: str, count: int, before: int = 3) -> list[dict[str, Any]]:
    """For every pair: the first answer after a switch against steady ones of the same variant, in turns."""
    inputs = {"input": np.random.default_rng(0).standard_normal((1, *INPUT), dtype=np.float32)}
    rows = []
    with Engine(folder) as engine, Switcher(engine, Stay()) as switcher:
        names = [p.name for p in engine.ladder.profiles]
        for a in names:
            for b in names:
                if a != b:
                    first, steady = one_pair(switcher, a, b, inputs, count, before)
                    rows.append(row_of(network, a, b, first, steady))
    return rows


def one_pair(
    switcher: Switcher, a: str, b: str, inputs: dict[str, Any], count: int, before: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times in ms of the first answers of `b` after `a`, and of steady ones of `b` in the same minute."""
    now = time.perf_counter_ns
    first, steady = np.zeros(count), np.zeros(count)
    for at in range(count):
        switcher.switch(a)
        for _ in range(before):
            switcher.active.run(inputs)
        start = now()
        switcher.switch(b)
        switcher.active.run(inputs)
        first[at] = now() - start
        switcher.active.run(inputs)
        start = now()
        switcher.active.run(inputs)
        steady[at] = now() - start
    return first / 1e6, steady / 1e6


def row_of(
    network: str, a: str, b: str, first: NDArray[np.float64], steady: NDArray[np.float64]
) -> dict[str, Any]:
    """One line: what a switch adds to the answer, in ms."""
    late = np.percentile(first, 99) - np.percentile(steady, 99)
    return {
        "what": "first answer",
        "network": network,
        "from": a,
        "to": b,
        "steady_p50_ms": float(np.median(steady)),
        "steady_p99_ms": float(np.percentile(steady, 99)),
        "first_p50_ms": float(np.median(first)),
        "first_p99_ms": float(np.percentile(first, 99)),
        "added_p50_ms": float(np.median(first) - np.median(steady)),
        "added_p99_ms": float(late),
        "switches": len(first),
    }


def findings(load: dict[str, Any], quiet: dict[str, Any], pairs: list[dict[str, Any]]) -> list[str]:
    """Sentences, the ones that fall short too."""
    said = [
        f"{load['switch_calls']:,} switch calls from {THREADS} threads, {load['requests']:,} requests meanwhile: "
        f"{load['errors']} errors, {load['wrong_answers']} answers that are not bit-identical to their variant's.",
        f"A switch takes {load['switch_p50_us']:.2f} us (median) and {load['switch_p99_us']:.1f} us (p99) under that "
        f"load, {quiet['switch_p50_us']:.2f} and {quiet['switch_p99_us']:.1f} us alone (target: p99 under 10 us); "
        f"{load['under_10_us']:.2%} are under 10 us.",
        f"Of that the thread itself works {load['processor_p50_us']:.2f} us (median) and "
        f"{load['processor_p99_us']:.1f} us (p99), two readings of its clock included; the rest it waits for the "
        "interpreter.",
    ]
    if pairs:
        worst = max(pairs, key=lambda r: r["added_p99_ms"])
        middle = max(pairs, key=lambda r: r["added_p50_ms"])
        said.append(
            f"First answer after a switch, p99 against steady p99: at most {worst['added_p99_ms']:.3f} ms more "
            f"({worst['network']}, {worst['from']} to {worst['to']}) over {len(pairs)} pairs (target: under 1 ms); "
            f"medians: at most {middle['added_p50_ms']:.3f} ms."
        )
    over = [r for r in pairs if r["added_p99_ms"] >= 1]
    if over:
        said.append(f"{len(over)} of {len(pairs)} pairs miss the target.")
    return said


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/bench_runtime"))
    parser.add_argument("--switches", type=int, default=1_000_000)
    parser.add_argument(
        "--pairs", type=int, default=1000, help="switches per pair of variants; 0 = leave this out"
    )
    parser.add_argument("--networks", nargs="+", default=["resnet20", "vgg16"])
    parser.add_argument("--claim", default="runtime_switching")
    given = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    for network in given.networks:
        portfolio(given.folder / network, network)
    gc.collect()
    pairs = (
        []
        if given.pairs == 0
        else [row for n in given.networks for row in first_answers(given.folder / n, n, given.pairs)]
    )
    if pairs:
        print(table(pairs, list(pairs[0])), flush=True)
    quiet = alone(given.folder / given.networks[0], min(given.switches, 100_000))
    load = under_load(given.folder / given.networks[0], given.switches)
    said = findings(load, quiet, pairs)
    print("\n".join(said))
    run = Run(
        given.claim,
        "Switching between variants: correctness and cost of a million switches, and of the first answer after one.",
        repeats=f"{given.pairs} switches per pair, first and steady answers in turns",
        spread="p50, p99 and maximum of all single times",
    )
    keep(run, [load, quiet, *pairs], said)


if __name__ == "__main__":
    main()
