# SPDX-License-Identifier: Apache-2.0
"""How far from a prediction the truth may lie: half-widths in log units from errors on held-out networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.predict.samples import Prediction


def conformal(residuals: NDArray[np.float64], level: float = 0.9) -> float:
    """The half-width that holds the next residual with probability `level`.

    Split-conformal (Lei et al., JASA 2018, https://arxiv.org/abs/1604.04173): the `ceil((n + 1) level)`-th
    smallest |residual| of n networks the predictor did not learn from. With fewer than `level / (1 - level)`
    residuals that rank does not exist; the normal law's half-width with the t-distribution's correction for
    n stands in, which holds for bell-shaped errors only.

    Args:
        residuals: `(n,)`, truth minus prediction, leave-one-out or held out; logs of costs, usually.
        level: Between 0 and 1.

    Raises:
        BadValue: If there is no residual, one is not finite, or the level is not between 0 and 1.
    """
    _check(residuals, level)
    n = len(residuals)
    rank = math.ceil((n + 1) * level - 1e-9)  # 1e-9: 10 * 0.9 is 9.000000000000002
    if rank <= n:
        return float(np.sort(np.abs(residuals))[rank - 1])
    rms = math.sqrt(float(np.mean(np.square(residuals))))
    return student(n, level) * rms * math.sqrt(1 + 1 / n)


def of_groups(residuals: Sequence[NDArray[np.float64]], level: float = 0.9) -> float:
    """The half-width that holds a residual of one more group with probability `level`; inf with too few groups.

    Hierarchical conformal prediction (Lee, Barber and Willett, 2023, https://arxiv.org/abs/2306.06342): of K groups
    each has an equal say, and so has the one to come, whose residuals may be anything. Below `level / (1 - level)`
    groups (9 at 0.9) no finite width keeps the promise. It holds over groups: all residuals of one group may lie
    outside.

    Args:
        residuals: K groups, each `(n,)`, truth minus prediction by a fit without the group.
        level: Between 0 and 1.

    Raises:
        BadValue: If a group is empty or not finite, or the level is not between 0 and 1.
    """
    for group in residuals:
        _check(group, level)
    if not residuals:
        return math.inf
    sizes = np.concatenate([np.abs(group) for group in residuals])
    share = np.concatenate([np.full(len(group), 1 / len(group)) for group in residuals]) / (
        len(residuals) + 1
    )
    order = np.argsort(sizes, kind="stable")
    reached = np.flatnonzero(np.cumsum(share[order]) >= level - 1e-9)
    return float(sizes[order][reached[0]]) if len(reached) else math.inf


def student(freedom: float, level: float) -> float:
    """Half-width of the central `level` of a t-distribution, in its own scale.

    Cornish-Fisher series in 1 / freedom (Abramowitz & Stegun 26.7.5); exact for 1 and 2 degrees of freedom.
    """
    p = (1 + level) / 2
    if freedom <= 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom <= 2:
        a = 4 * p * (1 - p)
        return 2 * (p - 0.5) * math.sqrt(2 / a)
    z = normal(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom ** (i + 1) for i, term in enumerate(terms))


def normal(level: float) -> float:
    """Half-width of the central `level` of the normal law, in standard deviations: 1.645 for 0.9."""
    low, high = 0.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle / math.sqrt(2)) < level else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class Prior:
    """What errors on other devices say about errors on one that is barely measured.

    Attributes:
        scale: Root mean square error, in log units, that is typical of the other devices.
        weight: How many of the target's own residuals that typical value counts for.
        quantiles: Pairs `(level, multiple of scale)`: the errors' shape on the other devices.
    """

    scale: float
    weight: float
    quantiles: tuple[tuple[float, float], ...] = ()

    def half_width(self, residuals: NDArray[np.float64], level: float = 0.9) -> float:
        """The half-width from the target's residuals, shrunk towards the other devices' scale.

        Args:
            residuals: `(k,)`, leave-one-out on the target; k = 0 leaves the other devices' word.
            level: Between 0 and 1.
        """
        k = len(residuals)
        square = self.weight * self.scale**2 + float(np.sum(np.square(residuals)))
        scale = math.sqrt(square / (self.weight + k)) if self.weight + k else self.scale
        return scale * self._multiple(level)

    def _multiple(self, level: float) -> float:
        if not self.quantiles:
            return normal(level)
        levels, multiples = zip(*self.quantiles, strict=True)
        return float(np.interp(level, levels, multiples))


def interval(
    log_value: NDArray[np.float64],
    half_width: float | NDArray[np.float64],
    level: float,
    source: str,
    unit: str = "ms",
) -> Prediction:
    """The prediction `exp(log_value)` with `half_width` log units on either side."""
    # 300: exp of more is not a float any more, and no cost is e^300.
    middle = np.clip(np.asarray(log_value, float), -300, 300)
    width = np.broadcast_to(np.clip(half_width, 0, 300), middle.shape)
    return Prediction(
        np.exp(middle), np.exp(middle - width), np.exp(middle + width), level, unit, "predicted", source
    ).check()


def coverage(prediction: Prediction, truth: NDArray[np.float64]) -> float:
    """Share of true values inside their intervals, 0..1; unmeasured (NaN) ones do not count."""
    known = ~np.isnan(truth)
    inside = (prediction.low[known] <= truth[known]) & (truth[known] <= prediction.high[known])
    return float(inside.mean()) if known.any() else math.nan


def _check(residuals: NDArray[np.float64], level: float) -> None:
    if not 0 < level < 1:
        raise BadValue("level", level, "between 0 and 1")
    if len(residuals) == 0 or not np.isfinite(residuals).all():
        raise BadValue("residuals", residuals.tolist(), "at least one, finite")
