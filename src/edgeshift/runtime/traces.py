# SPDX-License-Identifier: Apache-2.0
"""Traces to replay: when requests arrive, what the link carries, how fast the clock runs.

Arrivals and links are recorded; the clock is modelled (`modelled_clock`), since nobody published such a trace.
"""

import csv
import gzip
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadData, BadValue
from edgeshift.core.seeds import seed_for

# More is a mistake in the units rather than a trace.
MOST_ARRIVALS = 50_000_000
# Header of a file with a rate per row -> seconds that one row stands for. Its first column counts.
RATE_HEADERS = {"mean_per_s": 60.0, "per_s": 1.0, "per_min": 60.0}
# Files with one number a line say in their name what the number counts.
RATE_NAMES = {"_per_s": (1.0, 1.0), "_per_min": (60.0, 60.0)}
# A file of more rows than this is no trace of ours: it would not fit into memory.
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Clock:
    """The relative clock and the temperature of a device over time.

    Attributes:
        step_s: Seconds between samples; a value holds until the next.
        share: Of the full clock, 0..1, one per sample; the trace starts again at its end.
        celsius: Temperature, one per sample.
    """

    step_s: float
    share: NDArray[np.float64]
    celsius: NDArray[np.float64]

    def check(self) -> "Clock":
        """Self, or BadValue."""
        positive = len(self.share) > 0 and bool(np.all((self.share > 0) & (self.share <= 1)))
        if not positive or len(self.share) != len(self.celsius) or not 0 < self.step_s < math.inf:
            raise BadValue(
                "clock",
                (self.step_s, len(self.share)),
                "shares above 0 and at most 1, each with a temperature",
            )
        return self


@dataclass(frozen=True)
class Link:
    """The capacity of a link over time.

    Attributes:
        step_s: Seconds between samples; a value holds until the next.
        kbit_s: Capacity, one per sample; the trace starts again at its end.
    """

    step_s: float
    kbit_s: NDArray[np.float64]

    def uploads(self, sent_s: NDArray[np.float64], kbit: float) -> NDArray[np.float64]:
        """When each of these sendings has arrived, one after the other on this link, in seconds.

        Args:
            sent_s: `(n,)`, rising.
            kbit: Size of each.
        """
        if kbit <= 0 or not len(sent_s):
            return sent_s
        carried = np.concatenate([[0.0], np.cumsum(self.kbit_s) * self.step_s])
        rounds, period_s = float(carried[-1]), self.step_s * len(self.kbit_s)
        edges = np.arange(len(carried)) * self.step_s
        # In units of what the link could have carried since 0, every upload takes `kbit`, whatever the time.
        ready = np.floor(sent_s / period_s) * rounds + np.interp(sent_s % period_s, edges, carried)
        order = np.arange(len(sent_s)) * kbit
        done = np.maximum.accumulate(ready - order) + order + kbit
        whole = np.floor(done / rounds)
        rest = done - whole * rounds
        # The step in which the last bit is carried, not the pauses after it, where `carried` is flat.
        last = np.maximum(np.searchsorted(carried, rest, side="left"), 1)
        missing = np.maximum(carried[last] - rest, 0) / np.maximum(np.diff(carried)[last - 1], 1e-12)
        arrived_s = whole * period_s + np.where(rest > 0, edges[last] - missing * self.step_s, 0.0)
        return np.asarray(np.maximum(arrived_s, sent_s))


def read_arrivals(
    path: Path, *, scale: float = 1.0, seed: int = 0, start_s: float = 0.0, seconds: float = math.inf
) -> NDArray[np.float64]:
    """When requests arrive, in seconds from `start_s` on, rising.

    Three kinds of file, `.gz` or plain: arrival times in ms (header `t_ms`), replayed as they are; a rate a row
    (header `mean_per_s`, `per_s` or `per_min`); one count a line, in a file whose name has `_per_s` or `_per_min`.
    Rates are expanded: a Poisson number of arrivals per row, uniform within it.

    Args:
        path: The file.
        scale: Times as many requests a second; arrival times are divided by it, rates multiplied.
        seed: Of the expansion; arrival times do not depend on it.
        start_s: Where in the file to begin, in the file's own seconds.
        seconds: How much of the file to take.

    Raises:
        BadData: If the file is missing, empty, of no such kind, or holds other than rising times or rates from 0.
        BadValue: If an argument is out of range.
    """
    if not 0 < scale < math.inf:
        raise BadValue("scale", scale, "a finite number above 0")
    if not 0 <= start_s < math.inf or not seconds > 0:
        raise BadValue("start_s and seconds", (start_s, seconds), "a start from 0 and more than 0 seconds")
    header, columns = _columns(path)
    if header[:1] == ["t_ms"] and len(header) == 1:
        times = np.sort(columns[0]) / 1000
        times = times[(times >= start_s) & (times < start_s + seconds)]
        return np.asarray((times - start_s) / scale)
    every_s, per_s = _rate_of(path, header)
    first, last = int(start_s // every_s), min(len(columns[0]), (start_s + seconds) / every_s)
    mean = columns[0][first : math.ceil(last)] * (every_s / per_s) * scale
    if mean.sum() > MOST_ARRIVALS:
        raise BadData(
            f"arrivals of {path.name} must be at most {MOST_ARRIVALS}, got {mean.sum():.3g}; scale down"
        )
    source = np.random.default_rng(seed_for(seed, "arrivals"))
    counts = source.poisson(mean)
    within = source.random(int(counts.sum()))
    return np.asarray(np.sort((np.repeat(np.arange(len(counts)), counts) + within) * every_s))


def read_link(path: Path) -> Link:
    """The link of a file with times (`t_ms` or `t_s`) and a column that ends in `kbit_s`.

    Times that come twice or run back, as in phone logs, are taken as one row per step.

    Raises:
        BadData: If the file is missing, empty, of no such kind, or has no capacity at all.
    """
    header, columns = _columns(path)
    capacity = [i for i, name in enumerate(header) if name.endswith("kbit_s")]
    step_s = {"t_ms": 0.1, "t_s": 1.0}.get(header[0] if header else "")
    if not capacity or step_s is None:
        raise BadData(f"{path.name} must be a link with t_ms or t_s and kbit_s, got the columns {header}")
    kbit_s = columns[capacity[0]]
    if kbit_s.sum() <= 0:
        raise BadData(f"{path.name} must be a link that carries something, got 0 kbit/s throughout")
    return Link(step_s, kbit_s)


def modelled_clock(seed: int = 0, seconds: float = 3600.0) -> Clock:
    """A clock that a governor throttles as the device heats up. Modelled, not measured.

    Dynamic power goes with the cube of the clock; the case is one heat capacity (time constant 60 s) between the
    chip and an ambient that drifts. Other work comes and goes (busy for about 40 s, away for about 60 s). The
    governor steps down one of 1, 0.8, 0.6, 0.4 above 80 degrees Celsius and up again below 72, once a second.

    Args:
        seed: Of the other work and the ambient.
        seconds: Length.
    """
    if not 1 <= seconds < math.inf:
        raise BadValue("seconds", seconds, "a finite number from 1")
    source = np.random.default_rng(seed_for(seed, "clock"))
    steps, ambient = math.ceil(seconds), 25 + 10 * source.random()
    levels, level, celsius, busy, left = (0.4, 0.6, 0.8, 1.0), 3, ambient + 25, False, 0.0
    share, heat = np.empty(steps), np.empty(steps)
    for second in range(steps):
        if left <= 0:
            busy = not busy
            left = source.exponential(40.0 if busy else 60.0)
        left -= 1
        ambient += source.normal(0, 0.05)
        # 80 K above ambient when all cores are busy at full clock, 20 K of it idle.
        power = 20 + (60 if busy else 25) * levels[level] ** 3
        celsius += (ambient + power - celsius) / 60
        level = max(0, level - 1) if celsius > 80 else min(3, level + 1) if celsius < 72 else level
        share[second], heat[second] = levels[level], celsius
    return Clock(1.0, share, heat).check()


def _rate_of(path: Path, header: list[str]) -> tuple[float, float]:
    """Seconds that a row stands for, and seconds that its number counts over."""
    if header:
        every_s = RATE_HEADERS.get(header[0])
        if every_s is None:
            raise BadData(f"{path.name} must hold t_ms or a rate, got the columns {header}")
        return every_s, 60.0 if header[0] == "per_min" else 1.0
    for ending, spans in sorted(RATE_NAMES.items(), key=lambda item: -len(item[0])):
        if ending in path.name:
            return spans
    raise BadData(f"{path.name} must say _per_s or _per_min in its name, got neither and no header")


def _columns(path: Path) -> tuple[list[str], list[NDArray[np.float64]]]:
    """Header and numeric columns; a column that is text is all nan, a header of numbers is no header."""
    rows = list(csv.reader(io.StringIO(_text(path))))
    if not rows:
        raise BadData(f"{path.name} must be a trace, got an empty file")
    header = [] if _number(rows[0][0]) is not None else [name.strip() for name in rows[0]]
    body = rows[1:] if header else rows
    width = len(header) or 1
    if not body or any(len(row) != width for row in body):
        raise BadData(
            f"{path.name} must have {width} column{'s' * (width > 1)} in every row, got another number"
        )
    columns = [np.array([_number(row[i]) for row in body], np.float64) for i in range(width)]
    read = [
        c for c, name in zip(columns, header or ["rate"], strict=True) if name not in ("mode", "speed_kmh")
    ]
    if any(not np.all((c >= 0) & (c < math.inf)) for c in read):
        raise BadData(f"numbers of {path.name} must be finite and 0 or more, got others")
    return header, columns


def _text(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise BadData(f"{path.name} must be at most {MOST_BYTES} bytes, got more")
        return content.decode("utf-8")
    except FileNotFoundError as error:
        raise BadData(f"trace must be a file, got none at {path}") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadData(f"{path.name} must be readable text or gzip, got: {error}") from error


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
