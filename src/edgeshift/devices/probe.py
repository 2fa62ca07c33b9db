# SPDX-License-Identifier: Apache-2.0
"""Two minutes of micro-benchmarks in ONNX Runtime: what this device does with layers of all sizes. No torch."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import onnxruntime

from edgeshift.core.errors import BadValue
from edgeshift.core.progress import Progress, Silent
from edgeshift.devices.cases import Case, Layer, grid, model
from edgeshift.devices.profile import DeviceProfile, this_machine
from edgeshift.formats import open_onnx

Call = Callable[[], object]
# A chain of the longer part runs at least this often per visit, and visits last this long.
WARM_UP, LEAST, VISIT_S = 5, 7, 0.01
# Steps of channels a kernel may round up to.
ROUNDINGS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Row:
    """What one case took.

    Attributes:
        layers: The timed part.
        ms: Of the whole timed part; the lowest of the visits' medians, as other work only ever adds.
        spread: Highest over lowest of the visits' medians, minus 1.
        visits: How often the case was visited.
        calls: Calls behind all medians.
    """

    layers: tuple[Layer, ...]
    ms: float
    spread: float
    visits: int
    calls: int


class Pair:
    """Both chains of a case, opened."""

    def __init__(self, case: Case, threads: int) -> None:
        self.case = case
        self._calls = [opened(chain, threads) for chain in (case.first, case.first + case.rest)]
        self.medians: list[tuple[float, float]] = []
        self.calls = 0
        for call in self._calls:
            for _ in range(WARM_UP):
                call()

    def visit(self, clock: Callable[[], float]) -> None:
        """Time both in turns."""
        times: tuple[list[float], list[float]] = ([], [])
        begin = clock()
        while clock() - begin < VISIT_S or len(times[0]) < LEAST:
            for call, found in zip(self._calls, times, strict=True):
                start = clock()
                call()
                found.append(clock() - start)
        self.calls += len(times[0])
        short, long = (float(np.median(found)) for found in times)
        self.medians.append((short, long))

    def row(self) -> Row:
        """The case's time, at least a nanosecond."""
        short, long = (min(column) for column in zip(*self.medians, strict=True))
        longs = [long for _, long in self.medians]
        spread = max(longs) / min(longs) - 1
        return Row(self.case.rest, 1000 * max(long - short, 1e-9), spread, len(self.medians), self.calls)


def opened(layers: Sequence[Layer], threads: int) -> Call:
    """A chain as one call on one input."""
    session = open_onnx(model(layers), threads)
    image = np.random.default_rng(0).standard_normal((1, *session.input_shape), np.float32)
    return lambda: session.run(image)


def probe(
    name: str = "this",
    seconds: float = 120,
    threads: int = 1,
    progress: Progress = Silent(),  # noqa: B008  # holds nothing
    clock: Callable[[], float] = time.perf_counter,
    *,
    quick: bool = False,
) -> DeviceProfile:
    """This machine's profile with a measured table of layers.

    All cases are visited in turns, over and over until the time is up, so that a disturbance does not hit all
    visits of one case.

    Args:
        name: To call the profile.
        seconds: About how long to measure, above 0; every case is visited at least twice.
        threads: Intra-op threads, 1 or more.
        progress: Told how far it is.
        clock: Seconds; another one for tests.
        quick: A third of the cases.

    Raises:
        BadValue: If `seconds` is not above 0 or `threads` is below 1.
    """
    if seconds <= 0:
        raise BadValue("seconds", seconds, "above 0")
    base = replace(
        this_machine(), name=name, threads=threads, runtime=f"onnxruntime {onnxruntime.__version__}"
    )
    base.check()
    begin = clock()
    cases = grid(quick=quick)
    with progress.task("open", len(cases)) as step:
        pairs = []
        for case in cases:
            pairs.append(Pair(case, threads))
            step()
    # Two visits at least; then as many as fit.
    with progress.task("probe", round(seconds)) as step:
        told, visits = 0, 0
        while visits < 2 or clock() - begin < seconds:
            for which in np.random.default_rng(visits).permutation(len(pairs)).tolist():
                pairs[which].visit(clock)
                now = min(round(seconds), int(clock() - begin))
                if now > told:
                    step(now - told)
                    told = now
                if visits >= 2 and clock() - begin > seconds:
                    break
            visits += 1
    rows = [pair.row() for pair in pairs]
    call_us = 1e6 * min(short for pair in pairs for short, _ in pair.medians)
    found = summary(rows) | {"call_us": round(call_us, 3)}
    protocol = (
        f"onnxruntime {onnxruntime.__version__}, {threads} threads, {len(cases)} cases, at least {visits - 1} visits "
        f"of {VISIT_S * 1000:.0f} ms in turns; ms = lowest of the visits' medians of the longer chain minus that of "
        "the shorter one"
    )
    table = {
        "kind": "measured",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(clock() - begin, 1),
        "protocol": protocol,
        "summary": found,
        "rows": [row_json(row) for row in rows],
    }
    return replace(
        base,
        peak_gmacs=found["peak_gmacs"],
        bandwidth_gbs=found["bandwidth_gbs"],
        sources={"peak_gmacs": "probe", "bandwidth_gbs": "probe"},
        probe=table,
    ).check()


def row_json(row: Row) -> dict[str, Any]:
    """A row as JSON types, rounded to what was measured."""
    return {
        "layers": [asdict(layer) for layer in row.layers],
        "ms": float(f"{row.ms:.5g}"),
        "spread": round(row.spread, 3),
        "visits": row.visits,
        "calls": row.calls,
    }


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """A few numbers of a table of layers.

    Returns:
        `peak_gmacs`: fastest row; `bandwidth_gbs`: largest element-wise row; `launch_us`: cheapest kernel;
        `spread`: median; `gmacs_*`: fastest row of a kind; `step_*`: channels a kind rounds up to.
    """
    found: dict[str, float] = {}
    kinds: dict[str, Callable[[Layer], bool]] = {
        "conv_3x3": lambda x: x.op == "conv" and x.kernel == 3 and x.groups == 1,
        "conv_1x1": lambda x: x.op == "conv" and x.kernel == 1 and x.groups == 1,
        "depthwise": lambda x: x.op == "conv" and x.groups == x.in_channels > 1,
        "linear": lambda x: x.op == "linear",
    }
    for kind, belongs in kinds.items():
        mine = [row for row in rows if all(belongs(layer) for layer in row.layers)]
        if mine:
            found[f"gmacs_{kind}"] = round(max(sum(x.macs for x in r.layers) / r.ms / 1e6 for r in mine), 3)
        if mine and kind != "linear":
            found[f"step_{kind}"] = rounding([r for r in mine if len(set(r.layers)) == 1])
    moves = [row for row in rows if row.layers[0].op in ("relu", "add")]
    most = max(row.layers[0].moved_bytes for row in moves)
    large = [row for row in moves if row.layers[0].moved_bytes > most / 2]
    found["bandwidth_gbs"] = round(max(sum(x.moved_bytes for x in r.layers) / r.ms / 1e6 for r in large), 3)
    found["peak_gmacs"] = max(value for key, value in found.items() if key.startswith("gmacs_"))
    found["launch_us"] = round(1000 * min(row.ms / len(row.layers) for row in rows), 3)
    found["spread"] = round(float(np.median([row.spread for row in rows])), 4)
    return found


def rounding(rows: Sequence[Row]) -> int:
    """The step of channels whose rounded-up work explains a sweep of widths best.

    Least squares of time on padded work and a constant, in relative error; the smallest step wins a tie.
    """
    side = max({row.layers[0].side for row in rows}, key=lambda s: sum(r.layers[0].side == s for r in rows))
    sweep = [row for row in rows if row.layers[0].side == side]
    best, least = 1, np.inf
    for step in ROUNDINGS:
        work = np.array([padded(row.layers[0], step) for row in sweep], float)
        ms = np.array([row.ms for row in sweep])
        x = np.stack([work, np.ones_like(work)], 1) / ms[:, None]
        answer = np.linalg.lstsq(x, np.ones_like(ms), rcond=None)[0]
        error = float(np.square(x @ answer - 1).sum())
        if error < 0.95 * least:  # 5 % better at least: a coarser step must earn its place
            best, least = step, error
    return best


def padded(layer: Layer, step: int) -> float:
    """MACs if channels are rounded up to a step."""
    up = -(-layer.out_channels // step) * step / layer.out_channels
    return layer.macs * up if layer.groups > 1 else layer.macs * up**2
