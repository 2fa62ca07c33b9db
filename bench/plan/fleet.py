# SPDX-License-Identifier: Apache-2.0
"""A plan for a million devices: rows a second, memory, and how few variants serve them.

    python -m bench.plan.fleet [--rows 10000,100000,1000000] [--kills 5]

The portfolio is what is best on NAS-Bench-201 by true accuracy (CIFAR-100) against true latency on a Xeon, MACs or
parameters, at most 64 networks. Devices are drawn: arithmetic, bandwidth and overhead over four orders of magnitude,
limits on time and size to match; their times are modelled, so the fleet is, and only the rows' number is real.
The largest fleet is planned once more, killed at random times and begun again, and must end in the same bytes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.record import Run, keep, table
from edgeshift.core.values import Measurement, ModelRef, Proof
from edgeshift.plan.fleet import Wanted, plan_fleet
from edgeshift.plan.margin import front_first
from edgeshift.portfolio import Draft, Portfolio
from edgeshift.predict.sets.help_nasbench201 import HelpNasbench201
from edgeshift.predict.sets.shape import file_of, read_columns


def portfolio(folder: Path) -> Portfolio:
    """The front networks as variants; their files are stand-ins, their figures true."""
    fleet = HelpNasbench201(accuracy="cifar100_test_200ep").open()
    rows = np.array(fleet.rows)
    work = read_columns(file_of("", "help_nasbench201", "nb201_archs_accuracy.parquet"), ["mmacs", "mparams"])
    macs, parameters = (np.array(work[k])[rows] * 1e6 for k in ("mmacs", "mparams"))
    accuracy = np.asarray(fleet.samples.accuracy) / 100
    latency = fleet.samples.column("silver_4210r")
    fronts = [front_first(accuracy, cost) for cost in (latency, macs, parameters)]
    chosen = sorted(set(np.concatenate(fronts).tolist()), key=lambda i: -accuracy[i])[:64]
    made = Portfolio.create(
        folder, ModelRef("nb201", 100, (3, 32, 32)), {"name": "cifar100"}, {"method": "none"}
    )
    for i in chosen:
        size = Measurement("file_size", 4 * parameters[i], "bytes")
        draft = Draft(
            f"cell-{rows[i]}", {}, {"validation": float(accuracy[i])}, int(parameters[i]), int(macs[i]), 0.0, {},
            (Measurement("latency", float(latency[i]), "ms"), size), Proof(0.0, 0.0, 1, ("none",), 1e-9),
        )  # fmt: skip
        made = made.add(draft, {"weights": str(rows[i]).encode()})
    return made


def write(path: Path, n: int) -> None:
    """A fleet of n devices, drawn with seed 0."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("device,macs_per_ms,bytes_per_ms,overhead_ms,error,latency_ms,size_bytes\n")
        for start in range(0, n, 100_000):
            k = min(100_000, n - start)
            macs = 10 ** rng.uniform(4.5, 8.5, k)
            moved = 10 ** rng.uniform(4, 7, k)
            overhead = 10 ** rng.uniform(-1.5, 0.7, k)
            # A limit between what a tenth and three times of a 100 MMAC network would take.
            limit = (overhead + 1e8 / macs) * 10 ** rng.uniform(-1, 0.5, k)
            size = np.where(rng.random(k) < 0.3, 10 ** rng.uniform(5.3, 7, k), np.nan)
            error = rng.uniform(0.02, 0.15, k)
            for i, row in enumerate(zip(macs, moved, overhead, error, limit, size, strict=True), start):
                cells = ["" if x != x else f"{x:.5g}" for x in row]
                file.write(f"d{i}," + ",".join(cells) + "\n")


def one(folder: Path, n: int) -> dict[str, float]:
    """Plan n rows in a process of its own: seconds, rows a second, most memory."""
    program = (
        "import json, resource, sys, time; from pathlib import Path\n"
        "from edgeshift.plan.fleet import Wanted, plan_fleet; from edgeshift.portfolio import Portfolio\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; p = Portfolio.open(sys.argv[1])\n"
        "a, c = time.perf_counter(), time.process_time()\n"
        "f = plan_fleet(p, Path(sys.argv[2]), Path(sys.argv[3]), Wanted(0.003))\n"
        "most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(json.dumps(dict(rows=f.rows, unmet=f.unmet, ship=len(f.variants), mean_loss=100 * f.mean_loss,"
        " worst_loss=100 * f.worst_loss, smallest=f.smallest, profiles=f.profiles,"
        " seconds=time.perf_counter() - a, cpu_seconds=time.process_time() - c,"
        " most_mib=most / 1024, before_mib=base / 1024)))"
    )
    csv = folder / f"fleet{n}.csv"
    write(csv, n)
    line = [sys.executable, "-c", program, str(folder / "portfolio"), str(csv), str(folder / f"out{n}")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return {**found, "rows_a_second": found["rows"] / found["seconds"], "csv_mb": csv.stat().st_size / 1e6}


KILLED = (
    "import sys; from pathlib import Path\n"
    "from edgeshift.plan.fleet import Wanted, plan_fleet; from edgeshift.portfolio import Portfolio\n"
    "plan_fleet(Portfolio.open(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Wanted(0.003))"
)


def killed(folder: Path, n: int, kills: int, seconds: float) -> tuple[list[int], bool]:
    """Devices planned when each kill came, in both readings, and whether the end is that of the undisturbed run."""
    out, rng = folder / "killed", np.random.default_rng(0)
    line = [sys.executable, "-c", KILLED, str(folder / "portfolio"), str(folder / f"fleet{n}.csv"), str(out)]
    at = []
    for _ in range(kills):
        run = subprocess.Popen(line)
        try:
            run.wait(1 + float(rng.uniform(0.5, 1.5)) * seconds / kills)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
        journal = json.loads((out / "journal.json").read_text()) if (out / "journal.json").exists() else None
        at.append((journal["stage"] - 1) * n + journal["rows"] if journal else 0)
    subprocess.run(line, check=True)
    files = ("picks.csv", "plan.json")
    return at, all((out / f).read_bytes() == (folder / f"out{n}" / f).read_bytes() for f in files)


def main() -> None:
    """Build, plan, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--kills", type=int, default=5)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = portfolio(folder / "portfolio")
        rows = [one(folder, int(n)) for n in words.rows.split(",")]
        last = rows[-1]
        at, same = killed(folder, int(last["rows"]), words.kills, last["seconds"])
        start = time.perf_counter()
        loose = plan_fleet(made, folder / "fleet10000.csv", folder / "none", Wanted(0.0))
        exact_s = time.perf_counter() - start
    print(table(rows, list(rows[0])))
    first = rows[0]
    per_row = [1e6 * r["cpu_seconds"] / r["rows"] for r in rows]
    findings = [
        f"{last['rows']:,} rows in {last['seconds']:.0f} s ({last['cpu_seconds']:.0f} s of one core): "
        f"{last['rows_a_second']:,.0f} rows a second; most memory {last['most_mib']:.0f} MiB, against "
        f"{first['most_mib']:.0f} MiB for {first['rows']:,} rows.",
        f"CPU per row: {', '.join(f'{u:.1f}' for u in per_row)} us for {', '.join(str(r['rows']) for r in rows)} rows.",
        f"{last['ship']} of {len(made)} variants serve the fleet within {last['mean_loss']:.3f} points of each "
        f"device's own best in the mean, {last['worst_loss']:.2f} at worst (target: 8 variants, 0.3 points); "
        f"{'no smaller set does' if last['smallest'] else 'found greedily'}.",
        f"{last['unmet']:,} devices have limits that no variant keeps; each is marked and has the nearest variant.",
        f"Killed {words.kills} times, after {', '.join(f'{k:,}' for k in at)} of {2 * last['rows']:,} rows (each "
        f"is read twice), and begun again: picks and plan {'are the same bytes' if same else 'DIFFER'}.",
        f"Without any loss {len(loose.variants)} variants are needed for 10,000 devices ({exact_s:.1f} s).",
        "The fleet is drawn and its times are modelled; accuracy, MACs, sizes and the Xeon's latency are the tables'.",
    ]
    print(*findings, sep="\n")
    run = Run(
        "plan_fleet",
        "A plan for each row of a fleet file, and the fewest variants that serve it.",
        repeats="each size once, in a process of its own",
        spread="none: one run each",
    )
    keep(run, rows, findings)


if __name__ == "__main__":
    main()
