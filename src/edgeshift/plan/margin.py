# SPDX-License-Identifier: Apache-2.0
"""Limits that hold on the device, not only in the prediction: a margin, and a few verifying measurements."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeshift.core.errors import BadValue
from edgeshift.plan.spaces.shape import Designs, Floats
from edgeshift.predict.intervals import normal
from edgeshift.predict.samples import Prediction

# Deviations of the log error that a design stays below its limit, where it is not measured: one in ten is over.
MULTIPLE = 1.3


def deviation(prediction: Prediction) -> Floats:
    """`(n,)` standard deviation of the log error that the prediction's interval stands for."""
    wide = np.log(prediction.high) - np.log(prediction.low)
    return np.asarray(wide / (2 * normal(prediction.level)))


def holds(prediction: Prediction, limit: float) -> Floats:
    """`(n,)` probability that the true cost is at most `limit`, for bell-shaped errors of the log."""
    middle = np.log(limit) - np.log(prediction.value)
    sigma = deviation(prediction)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sigma > 0, middle / sigma, np.where(middle >= 0, np.inf, -np.inf))
    return _chance(z)


def guarded(prediction: Prediction, multiple: float = MULTIPLE) -> Floats:
    """`(n,)` costs with the margin on top: what is compared with the limit where nothing is measured."""
    return np.asarray(prediction.value * np.exp(multiple * deviation(prediction)))


@dataclass(frozen=True)
class Verified:
    """What verifying measurements chose.

    Attributes:
        place: Index of the chosen design.
        met: Whether it was measured inside the limit; False: nothing that was measured is, and `place` is the
            nearest.
        measured: Index -> measured cost, in the order they were taken; earlier measurements are not in it.
    """

    place: int
    met: bool
    measured: dict[int, float]


def verify(
    gains: Floats,
    prediction: Prediction,
    limit: float,
    measure: Callable[[int], float],
    count: int = 4,
    before: dict[int, float] | None = None,
    repeat: float = 0.0,
) -> Verified:
    """The best design that is measured to keep the limit, with `count` measurements at most.

    Each measurement goes where the expected gain is largest: what the design gains over the best one known to keep
    the limit, times the probability that it keeps it (expected improvement under a constraint, Gardner et al., ICML
    2014, https://proceedings.mlr.press/v32/gardner14.html). Each answer moves the predictions of all the others by
    the mean log error seen, weighted as one unit of prior against the number of answers.

    Args:
        gains: `(n,)`, more is better.
        prediction: Of the n designs' cost.
        limit: Of the cost.
        measure: Index -> cost on the device.
        count: Measurements that may be taken.
        before: Index -> cost, for designs that are measured already.
        repeat: Standard deviation of the log between two measurements of one design on the device: a measured cost
            must stay so far below the limit that 19 of 20 repeats keep it too.
    """
    if count < 0:
        raise BadValue("verifying measurements", count, "0 or more")
    if repeat < 0:
        raise BadValue("repeat", repeat, "0 or more")
    limit = limit * float(np.exp(-normal(0.9) * repeat))
    known = dict(before or {})
    taken: dict[int, float] = {}
    errors: list[float] = []
    sigma = np.maximum(deviation(prediction), 1e-9)
    logs = np.log(prediction.value)
    for _ in range(count):
        best = max((float(gains[i]) for i, cost in known.items() if cost <= limit), default=None)
        shift = float(np.sum(errors)) / (len(errors) + 1)
        chance = _chance((np.log(limit) - logs - shift) / sigma)
        if (
            best is None
        ):  # first something that holds at all: far enough below all that the chance counts most
            best = float(2 * np.min(gains) - np.max(gains)) - 1e-9
        worth = np.maximum(gains - best, 0) * chance
        worth[list(known)] = 0
        place = int(worth.argmax())
        if worth[place] <= 0:
            break
        known[place] = taken[place] = measure(place)
        errors.append(float(np.log(known[place])) - float(logs[place]))
    inside = [i for i, cost in known.items() if cost <= limit]
    if inside:
        return Verified(max(inside, key=lambda i: (gains[i], -known[i])), True, taken)
    if known:
        return Verified(min(known, key=lambda i: known[i]), False, taken)
    return Verified(best_guarded(gains, prediction, limit), False, taken)


def best_guarded(gains: Floats, prediction: Prediction, limit: float, multiple: float = MULTIPLE) -> int:
    """The best design whose predicted cost with its margin keeps the limit; the nearest where none does."""
    inside = guarded(prediction, multiple) <= limit
    if inside.any():
        return int(np.where(inside, gains, -np.inf).argmax())
    return int(guarded(prediction, multiple).argmin())


def _chance(z: Floats) -> Floats:
    """Normal distribution function, to 1e-7 (Abramowitz & Stegun 7.1.26 is 1.5e-7 on erf)."""
    x = np.minimum(np.abs(z), 40) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * x)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = 1 - series * np.exp(-x * x)
    return np.asarray(0.5 * (1 + np.sign(z) * erf))


def front_first(gains: Floats, costs: Floats) -> Designs:
    """Indices of designs that no other beats in gain and cost, the cheapest first."""
    order = np.lexsort((-gains, costs))
    best = np.maximum.accumulate(gains[order])
    fresh = np.concatenate([[True], best[1:] > best[:-1]])
    return np.asarray(order[fresh], np.int64)
