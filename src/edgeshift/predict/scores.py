# SPDX-License-Identifier: Apache-2.0
"""How good predictions are: error in percent, share within 10 %, rank, and what repeated runs allow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.predict.intervals import coverage
from edgeshift.predict.samples import Prediction


@dataclass(frozen=True)
class Score:
    """One predictor on one device, on networks it was not fitted on.

    Attributes:
        mape: Mean of |predicted / measured - 1|, percent.
        within_10: Share with at most 10 % error, percent.
        spearman: Rank correlation, -1..1; NaN if all costs are equal.
        coverage: Share of true costs inside their intervals, percent.
        networks: How many were judged.
    """

    mape: float
    within_10: float
    spearman: float
    coverage: float
    networks: int


def score(prediction: Prediction, truth: NDArray[np.float64]) -> Score:
    """How well a prediction met what was measured; unmeasured (NaN) networks do not count.

    Raises:
        BadValue: If nothing was measured.
    """
    known = ~np.isnan(truth)
    if not known.any():
        raise BadValue("truth", "none measured", "at least one measured cost")
    error = np.abs(prediction.value[known] / truth[known] - 1)
    return Score(
        mape=100 * float(error.mean()),
        within_10=100 * float((error <= 0.1).mean()),
        spearman=spearman(prediction.value[known], truth[known]),
        coverage=100 * coverage(prediction, truth),
        networks=int(known.sum()),
    )


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places from 0, equal values sharing the mean of theirs."""
    _, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    middle: NDArray[np.float64] = (ends - (sizes + 1) / 2)[inverse]
    return middle


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Rank correlation; NaN if either is constant or has fewer than two values."""
    x, y = ranks(a), ranks(b)
    x, y = x - x.mean() if len(x) else x, y - y.mean() if len(y) else y
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm else math.nan


@dataclass(frozen=True)
class Ceiling:
    """What two measurements of one network say about the best any predictor can score.

    Attributes:
        repeat_mape: Mean error of one run as a prediction of the other, percent.
        mape: Least expected error of a perfect predictor: `repeat_mape / sqrt(2)`, percent.
        spearman: Largest expected rank correlation: the root of the two runs' own.
    """

    repeat_mape: float
    mape: float
    spearman: float


def ceiling(cost: NDArray[np.float64], pairs: Sequence[tuple[int, int]]) -> Ceiling:
    """The ceiling on one device from pairs of rows that are the same network.

    A real difference between the two, such as the order in which a runtime schedules them, counts as noise.

    Raises:
        BadValue: If no pair was measured.
    """
    places = np.array(pairs, np.int64).reshape(-1, 2)
    first, second = cost[places[:, 0]], cost[places[:, 1]]
    known = ~(np.isnan(first) | np.isnan(second))
    if not known.any():
        raise BadValue("pairs", len(places), "at least one pair measured twice")
    first, second = first[known], second[known]
    repeat = 100 * float(np.abs(first / second - 1).mean())
    return Ceiling(repeat, repeat / math.sqrt(2), math.sqrt(max(0.0, spearman(first, second))))
