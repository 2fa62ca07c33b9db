# SPDX-License-Identifier: Apache-2.0
"""What no policy can beat on a trace: an upper bound by a clairvoyant, preemptive, fractional relaxation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.runtime.simulate import Luck, Replay, sigmas
from edgeshift.runtime.state import Ladder


def upper_bound(
    ladder: Ladder, trace: Replay, *, seed: int = 0, scores: Sequence[float] = (), bins: int = 8
) -> float:
    """Accuracy on time that no policy exceeds in `replay` with the same arguments, 0..1.

    Why it is a bound. Take any schedule of one worker. Request i, with its luck and the best clock in its window
    [arrival, deadline], needs at least `t_i(v)` for variant v, all of it inside the window if the answer is on
    time. Let `g_i(x)` be the least concave function from 0 through the points `(t_i(v), score(v))`: a request that
    got the time x inside its window earned at most `g_i(x)`. A concave, piecewise linear `g_i` is a sum of
    segments with falling slopes, so `g_i(x) = integral over slopes s > 0 of min(x, c_i(s)) ds`, where `c_i(s)` is the
    length of the segments that are steeper than s. For each s the times `min(x_i, c_i(s))` fit on one worker inside the
    windows, so their sum is at most `F(s)`: the most work that fits when request i brings `c_i(s)` of it and may
    be interrupted or left unfinished. Hence the sum of all `g_i(x_i)` is at most the integral of F. All windows open
    and close in the same order, so first come, first served, leaving each request at its deadline, does the most
    work: it is earliest deadline first, which is optimal for infinitesimal pieces of equal worth.

    To have few slopes, requests are put into classes of similar luck, each as lucky as its luckiest: the bound only
    rises. It knows the future and splits requests, so it is not reached; the gap to it is not all regret.

    Args:
        ladder: As in `replay`.
        trace: As in `replay`.
        seed: As in `replay`.
        scores: As in `replay`.
        bins: Classes of luck per clock; more take longer and bound tighter.
    """
    worth = list(scores) or [p.accuracy for p in ladder.profiles]
    if len(worth) != len(ladder):
        raise BadValue("scores", len(worth), f"{len(ladder)}, one per variant of the ladder")
    ends = trace.sent_s + trace.deadline_s
    class_of, classes = _classes(ladder, trace, Luck.draw(len(ends), seed), bins)
    curves = [_segments(c.times(ladder), worth) for c in classes]
    slopes = sorted({slope for curve in curves for slope, _ in curve}, reverse=True)
    arrived, until = trace.arrived_s.tolist(), ends.tolist()
    total = 0.0
    for slope, lower in zip(slopes, [*slopes[1:], 0.0], strict=True):
        lengths = np.array([sum(length for s, length in curve if s >= slope) for curve in curves])
        total += (slope - lower) * most_work(arrived, until, lengths[class_of].tolist())
    return min(1.0, total / len(ends))


def most_work(arrived: list[float], ends: list[float], work: list[float]) -> float:
    """Most seconds of work that one worker does inside the windows, which open and close in the same order."""
    free = done = 0.0
    for start, end, wanted in zip(arrived, ends, work, strict=True):
        begin = start if start > free else free
        got = end - begin
        if got > 0:
            got = wanted if wanted < got else got
            done += got
            free = begin + got
    return done


@dataclass(frozen=True)
class _Class:
    """Requests of similar luck.

    Attributes:
        share: Best relative clock that any of them can have.
        factor: Least factor on a service time among them.
    """

    share: float
    factor: float

    def times(self, ladder: Ladder) -> list[float]:
        """Seconds that each variant takes at least."""
        return [
            ((p.latency_ms - p.fixed_ms) / self.share + p.fixed_ms) * self.factor / 1000
            for p in ladder.profiles
        ]


def _classes(ladder: Ladder, trace: Replay, luck: Luck, bins: int) -> tuple[NDArray[np.intp], list[_Class]]:
    """Class of each request, and the classes."""
    spread = sigmas(ladder)
    # The least factor over the variants: their spreads differ.
    least = np.minimum(np.exp(min(spread) * luck.normal), np.exp(max(spread) * luck.normal)) * luck.stretch
    best = _best_share(trace)
    class_of = np.zeros(len(least), np.intp)
    classes: list[_Class] = []
    for share in np.unique(best):
        here = np.flatnonzero(best == share)
        edges = np.unique(np.quantile(least[here], np.linspace(0, 1, bins + 1)[:-1]))
        place = np.searchsorted(edges, least[here], side="right") - 1
        class_of[here] = len(classes) + place
        classes += [_Class(float(share), float(edge)) for edge in edges]
    return class_of, classes


def _best_share(trace: Replay) -> NDArray[np.float64]:
    """The fastest clock between arrival and deadline of each request."""
    if trace.clock is None:
        return np.ones(len(trace.arrived_s))
    clock, count = trace.clock, len(trace.clock.share)
    first = (trace.arrived_s // clock.step_s).astype(np.intp)
    best = clock.share[first % count].copy()
    for step in range(1, math.ceil(trace.deadline_s / clock.step_s) + 1):
        inside = (first + step) * clock.step_s <= trace.sent_s + trace.deadline_s
        best = np.where(inside, np.maximum(best, clock.share[(first + step) % count]), best)
    return np.asarray(best)


def _segments(times: list[float], worth: list[float]) -> list[tuple[float, float]]:
    """Slope and length of the pieces of the least concave curve from (0, 0) over the points; slopes fall."""
    hull = [(0.0, 0.0)]
    for time, score in sorted(zip(times, worth, strict=True)):
        if score <= hull[-1][1]:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-2], (time, score)):
            hull.pop()
        hull.append((time, score))
    return [(_slope(a, b), b[0] - a[0]) for a, b in pairwise(hull)]


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])
