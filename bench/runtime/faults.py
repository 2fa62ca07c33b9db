# SPDX-License-Identifier: Apache-2.0
"""Faults on purpose: kills, flipped bits, cut and zeroed files, a full disk, too little memory, failing variants.

    python -m bench.runtime.faults
    python -m bench.runtime.faults --kills 50 --mutations 500 --only saving mutations

Every part counts what must not happen: a portfolio that cannot be read after a kill, an acknowledged save that is
lost, a damaged file that is used, a request that is lost when a variant raises, hangs or dies. The portfolio is
three small networks; sizes do not matter here.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from bench.record import Run, keep, table
from edgeshift.core.errors import DiskFull, EdgeShiftError, Rejected
from edgeshift.portfolio import Portfolio, keys
from edgeshift.runtime import Engine, Switcher
from edgeshift.runtime.state import State
from tests.portfolio.made import INPUT, draft
from tests.runtime.made import DIE, HANG, RAISE, Faulty, Stay, Want, expected, files, first, ladder

ROOT = str(Path(__file__).parents[2])
NAMES = ("small", "middle", "large")


class Patience:
    """Counts what was tried, and ends when the time is up.

    Attributes:
        until_s: By the monotonic clock.
        tried: So far.
    """

    def __init__(self, minutes: float) -> None:
        self.until_s = time.monotonic() + 60 * minutes
        self.tried = 0

    def times(self, count: int) -> Iterator[int]:
        """0 to `count - 1`, or until the time is up."""
        for at in range(count):
            if time.monotonic() > self.until_s:
                return
            yield at
            self.tried = at + 1


def child(act: Callable[[Path, int], None], folder: Path) -> tuple[int, IO[str]]:
    """Do it in a copy of this process, which never comes back; its id, and what it says.

    A copy and not a new interpreter: it starts in milliseconds, so that a thousand kills take minutes. This process
    opens no session itself, so there are no threads that a copy would lack.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            act(folder, writing)
            code = 0
        except BaseException as error:
            print(f"child: {type(error).__name__}: {error}", file=sys.stderr)
        os._exit(code)
    os.close(writing)
    return pid, os.fdopen(reading)


def save_without_end(folder: Path, to: int) -> None:
    """Add and publish; say the number of variants and the generation once they are on disk."""
    made = Portfolio.open(folder)
    for n in range(len(made), 1_000_000):
        made = made.add(draft(f"level-{n}"), {"onnx": str(n).encode() * 500})
        if n % 3 == 0:
            made = made.publish()
        os.write(to, f"{len(made)} {made.generation or made.previous}\n".encode())


def serve_without_end(folder: Path, to: int) -> None:
    """Switch, ask, compare; say how many answers were right."""
    with Engine(folder) as engine, Switcher(engine, Stay()) as switcher:
        for n in range(1_000_000):
            switcher.switch(NAMES[n % 3])
            answer = switcher.run(INPUT)
            assert np.array_equal(answer.outputs["output"], expected(answer.variant))
            os.write(to, f"{n}\n".encode())


def serve_once(folder: Path, to: int) -> None:
    """Verify everything, then ask every variant."""
    Portfolio.open(folder).verify()
    with Engine(folder) as engine:
        for name in NAMES:
            assert np.array_equal(engine.run(INPUT, name).outputs["output"], expected(name))


def killed_while_saving(
    folder: Path, kills: int, source: random.Random, patience: Patience
) -> dict[str, Any]:
    """Kill -9 at random moments of a writer; then everything that was acknowledged must be there."""
    path = ladder(folder, ("small",)).publish().path
    unreadable = lost = 0
    for _ in patience.times(kills):
        pid, says = child(save_without_end, path)
        time.sleep(source.uniform(0.001, 0.06))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with says:
            lines = [line.split() for line in says.read().split("\n")[:-1]]
        acknowledged = (int(lines[-1][0]), int(lines[-1][1])) if lines else (0, 0)
        try:
            found = Portfolio.open(path)
            for variant in found:
                found.read(variant, "onnx")
            for number in found.generations():
                found.earlier(number)
        except EdgeShiftError as error:
            print(f"unreadable: {error}", file=sys.stderr)
            unreadable += 1
            continue
        lost += len(found) < acknowledged[0] or max(found.generation, found.previous) < acknowledged[1]
        if len(found) > 30:
            shutil.rmtree(path)
            ladder(path, ("small",)).publish()
        elif source.random() < 0.1:
            found.sweep(keep=3)
    return {"fault": "kill -9 while saving", "tried": patience.tried, "unreadable": unreadable, "lost": lost}


def killed_while_serving(
    folder: Path, kills: int, source: random.Random, patience: Patience
) -> dict[str, Any]:
    """Kill -9 at random moments of a server that builds its cache anew every fifth time; then it must start."""
    path = ladder(folder).publish().path
    unreadable = wrong = answers = 0
    for at in patience.times(kills):
        if at % 5 == 0:
            shutil.rmtree(path / ".cache", ignore_errors=True)
        pid, says = child(serve_without_end, path)
        time.sleep(source.uniform(0.005, 0.3))
        os.kill(pid, signal.SIGKILL)
        wrong += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL
        with says:
            answers += says.read().count("\n")
        pid, says = child(serve_once, path)
        says.close()
        unreadable += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    return {
        "fault": "kill -9 while serving",
        "tried": patience.tried,
        "unreadable": unreadable,
        "wrong": wrong,
        "right_answers_meanwhile": answers,
    }


def changed(data: bytes, source: random.Random) -> tuple[str, bytes]:
    """A bit flipped, an end cut off, or a page zeroed; never the same bytes."""
    kind = source.choice(("bit flip", "truncation", "zeroed page"))
    if kind == "bit flip":
        at = source.randrange(len(data))
        return kind, data[:at] + bytes([data[at] ^ (1 << source.randrange(8))]) + data[at + 1 :]
    if kind == "truncation":
        return kind, data[: source.randrange(len(data))]
    start = source.randrange(0, len(data), 4096)
    zeroed = data[:start] + bytes(len(data[start : start + 4096])) + data[start + 4096 :]
    return (kind, zeroed) if zeroed != data else changed(data, source)


def mutations(folder: Path, count: int, source: random.Random, patience: Patience) -> list[dict[str, Any]]:
    """Damage one file of a signed portfolio or its cache, open it, ask every variant that opened.

    Refused: opening raises, or the variant is not served, or (cache) the file was built again. Harmless does not
    exist here: every artefact is under a checksum. Used: an answer came although the damaged file was read.
    """
    keys.new(folder / "key")
    path = folder / "p"
    ladder(path).sign(folder / "key")
    with Engine(path):
        pass
    artefacts = sorted(p for p in path.rglob("*") if p.is_file())
    tally: Counter[tuple[str, str, str]] = Counter()
    for _ in patience.times(count):
        target = source.choice(artefacts)
        data = target.read_bytes()
        kind, damaged = changed(data, source)
        role = target.suffix or "blob"
        what = "cache" if target.parent.name == ".cache" else "manifest" if role != "blob" else "blob"
        os.rename(target, target.with_name("kept~"))
        target.write_bytes(damaged)
        try:
            tally[what, kind, judged(path, folder / "key.pub", what)] += 1
        finally:
            for extra in set((path / ".cache").iterdir()) - set(artefacts):
                if not extra.name.endswith("~"):
                    extra.unlink()
            os.rename(target.with_name("kept~"), target)
    kinds = sorted({(what, kind) for what, kind, _ in tally})
    return [
        {
            "fault": f"{kind} in {what}",
            "tried": sum(n for (w, k, _), n in tally.items() if (w, k) == (what, kind)),
            "refused": tally[what, kind, "refused"],
            "used": tally[what, kind, "used"],
            "crashes": tally[what, kind, "crash"],
        }
        for what, kind in kinds
    ]


def judged(path: Path, key: Path, what: str) -> str:
    """What became of a damaged file: "refused", "used" or "crash"."""
    try:
        if what == "blob":
            # The cache would serve without ever reading the blob; a device without one must read it.
            shutil.rmtree(path / ".cache~", ignore_errors=True)
            with Engine(path, public_key=key, cache=path / ".cache~") as engine:
                bad = len(engine.failed) > 0
                good = all(
                    np.array_equal(engine.run(INPUT, n).outputs["output"], expected(n))
                    for n in NAMES
                    if n not in engine.failed
                )
            shutil.rmtree(path / ".cache~", ignore_errors=True)
            return "refused" if bad and good else "used"
        with Engine(path, public_key=key) as engine:
            good = all(np.array_equal(engine.run(INPUT, n).outputs["output"], expected(n)) for n in NAMES)
            said = any(engine.ready(i).note for i in range(len(engine.ladder)))
            return "refused" if good and said else "used"
    except EdgeShiftError:
        return "refused"
    except Exception as error:
        print(f"crash: {type(error).__name__}: {error}", file=sys.stderr)
        return "crash"


def changed_in_place(folder: Path, count: int, source: random.Random) -> dict[str, Any]:
    """A bit of a mapped file flips where it lies, time and size stay: the next check must find it and build anew."""
    unseen = wrong = 0
    with Engine(ladder(folder).path) as engine:
        for at in range(count):
            index = at % len(engine.ladder)
            path = engine.ready(index).file
            assert path is not None
            facts = path.stat()
            path.chmod(0o600)
            with path.open("r+b") as file:
                where = source.randrange(facts.st_size)
                file.seek(where)
                bits = file.read(1)[0] ^ (1 << source.randrange(8))
                file.seek(where)
                file.write(bytes([bits]))
            path.chmod(0o400)
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            unseen += not engine.recheck(engine.ready(index))
            name = engine.renew(index).profile.name
            wrong += not np.array_equal(engine.run(INPUT, name).outputs["output"], expected(name))
            wrong += "checksum of a cached file" not in engine.ready(index).note
    return {"fault": "mapped file changed in place", "tried": count, "used": unseen, "wrong": wrong}


def disk_full(folder: Path) -> dict[str, Any]:
    """Save, publish and serve on a disk of 256 KiB that fills up; then room comes back."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        return {"fault": "disk full", "tried": 0, "note": "mounting a small disk needs root"}
    wrong = []
    try:
        made = ladder(folder / "p").publish()
        filler = folder / "filler"
        filler.write_bytes(bytes(os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize))
        for act in (lambda: made.add(draft("more", 0.99, 9.0), files("large")), lambda: publish_more(made)):
            try:
                act()
                wrong.append("a save without room succeeded")
            except DiskFull:
                pass
        with Engine(folder / "p", cache=folder / "p" / ".cache") as engine:
            wrong += [
                n for n in NAMES if not np.array_equal(engine.run(INPUT, n).outputs["output"], expected(n))
            ]
            wrong += [] if "not cached" in engine.ready(2).note else ["serving without a cache was not said"]
        filler.unlink()
        found = Portfolio.open(folder / "p").publish()
        found.sweep()
        wrong += [] if found.verify().variants == 3 else ["not whole"]
        wrong += ["left over" for p in folder.rglob(".part-*") if p.is_file()]
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, check=True)
    return {"fault": "disk full", "tried": 3, "wrong": len(wrong), "note": "; ".join(wrong)}


def publish_more(made: Portfolio) -> None:
    """A draft with nothing new in it but a figure, published."""
    variant = made.variants[0]
    made.remeasured(variant, variant.measurements).publish()


# Opens the portfolio, limits its address space to a little more than it has, asks for the large variant, serves.
STARVED = """
import resource, sys, time; from pathlib import Path; import numpy as np
from bench.runtime.made import INPUT
from edgeshift.runtime import Engine, Switcher
from tests.runtime.made import Want
x = np.zeros((1, *INPUT), np.float32)
with Engine(Path(sys.argv[1]), mode="demand") as engine, Switcher(engine, Want(lambda s: 3)) as switcher:
    before = switcher.run(x).variant
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (12 << 20), resource.RLIM_INFINITY))
    answers = {switcher.run(x).variant for _ in range(200)}
    end = time.monotonic() + 20
    while not switcher.events() and time.monotonic() < end:
        answers.add(switcher.run(x).variant)
    causes = [e.cause for e in switcher.events()]
    print(before, sorted(answers), causes, switcher.snapshot().counts)
"""


def out_of_memory(vgg: Path) -> dict[str, Any]:
    """The largest VGG-16 is wanted, and there is no memory to open it."""
    done = subprocess.run(
        [sys.executable, "-c", STARVED, str(vgg)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    said = (done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]])[-1]
    good = done.returncode == 0 and "unopened: width-100" in said and "width-100'" not in said.split("[")[1]
    return {"fault": "out of memory while loading", "tried": 1, "wrong": int(not good), "note": said}


def failing(folder: Path, each: int) -> list[dict[str, Any]]:
    """In processes of their own, the large variant raises, hangs or dies; every request must be answered."""
    path = ladder(folder).path
    kinds = (("raises", RAISE), ("hangs", HANG), ("segfaults", DIE))
    return [failed(path, each, *kind, deadline_ms) for deadline_ms in (5000, 100) for kind in kinds]


def failed(path: Path, each: int, what: str, value: float, deadline_ms: float) -> dict[str, Any]:
    """One kind of failure, and how long the answer took that a smaller variant gave in the end."""
    lost = wrong = quarantined = alarms = 0
    took = []
    with (
        Engine(path, backend=Faulty(from_scale=3), isolated=True) as engine,
        Switcher(engine, Want(large), deadline_ms=5000) as switcher,
    ):
        for _ in range(each):
            wait_until(lambda: switcher.run(INPUT).variant == "large")
            before = switcher.snapshot().alarms
            try:
                start = time.perf_counter()
                answer = switcher.run(first(value), deadline_ms=deadline_ms)
                took.append((time.perf_counter() - start) * 1e3)
                right = expected(answer.variant, first(value))
                wrong += answer.variant == "large" or not np.array_equal(answer.outputs["output"], right)
            except EdgeShiftError:
                lost += 1
            found = switcher.snapshot()
            quarantined += bool(found.variants[2].quarantined)
            alarms += found.alarms - before
            switcher._quarantine._strikes.clear()  # or the hundredth failure waits five minutes
    return {
        "fault": f"variant {what}, deadline {deadline_ms:g} ms",
        "tried": each,
        "lost": lost,
        "wrong": wrong,
        "quarantined": quarantined,
        "alarms": alarms,
        "in_time": sum(each_ms <= deadline_ms for each_ms in took),
        "retry_p50_ms": float(np.median(took)) if took else None,
        "retry_max_ms": float(np.max(took)) if took else None,
    }


def large(state: State) -> int:
    """The policy of `failing`."""
    return 2


def wait_until(true: Callable[[], bool]) -> None:
    """Until a variant is back."""
    while not true():
        time.sleep(0.01)


def clock_jumps(folder: Path) -> dict[str, Any]:
    """The clock jumps by 1 ms to 2 h while requests wait; none may hang, and those that slept are told so."""
    now = [1000.0]
    path = ladder(folder).path
    hung = wrong = 0
    source = random.Random(0)
    with Engine(path) as engine, Switcher(engine, Want(large), now=lambda: now[0]) as switcher:
        for _ in range(500):
            futures = [switcher.submit(INPUT, deadline_ms=1000) for _ in range(3)]
            now[0] += source.choice((0.001, 0.5, 2.0, 10.0, 7200.0))
            for future in futures:
                try:
                    wrong += not np.array_equal(future.result(20).outputs["output"], expected("large"))
                except Rejected:
                    continue
                except TimeoutError:
                    hung += 1
    return {"fault": "clock jumps", "tried": 500, "lost": hung, "wrong": wrong}


PARTS = ("saving", "serving", "mutations", "changed", "disk", "memory", "failing", "clock")


def measured(part: str, given: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """The rows of one part."""
    source, patience = random.Random(part), Patience(given.minutes)
    if part == "saving":
        return [killed_while_saving(place / "saving", given.kills, source, patience)]
    if part == "serving":
        return [killed_while_serving(place / "serving", given.kills, source, patience)]
    if part == "mutations":
        (place / "mutations").mkdir()
        return mutations(place / "mutations", given.mutations, source, patience)
    if part == "changed":
        return [changed_in_place(place / "changed", max(given.mutations // 10, 1), source)]
    if part == "disk":
        return [disk_full(place / "disk")]
    if part == "memory":
        from bench.runtime.made import portfolio

        folder = given.vgg or place / "vgg16"
        portfolio(folder, "vgg16", quick=True) if given.vgg is None else None
        return [out_of_memory(folder)]
    if part == "failing":
        return failing(place / "failing", given.failures)
    return [clock_jumps(place / "clock")]


def main() -> None:
    """Do it, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--failures", type=int, default=30)
    parser.add_argument(
        "--vgg", type=Path, help="a VGG-16 portfolio of bench.runtime.made; made if not given"
    )
    parser.add_argument("--minutes", type=float, default=600, help="at most, for each part")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--claim", default="runtime_faults")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    rows = []
    for part in given.only:
        with tempfile.TemporaryDirectory() as folder:
            rows += measured(part, given, Path(folder))
        print(
            table(rows[-6:], ("fault", "tried", "unreadable", "lost", "wrong", "refused", "used", "crashes")),
            flush=True,
        )
    bad = ("unreadable", "lost", "wrong", "used", "crashes")
    total = {name: sum(row.get(name, 0) for row in rows) for name in bad}
    said = [
        f"{row['fault']}: {', '.join(f'{k} {v}' for k, v in row.items() if k != 'fault')}." for row in rows
    ]
    said.insert(0, f"Over all {sum(r['tried'] for r in rows):,} faults: {total} (target: 0 of each).")
    print("\n".join(said))
    keep(
        Run(given.claim, "Faults on purpose, and what became of portfolio, answers and requests."), rows, said
    )


if __name__ == "__main__":
    main()
