# SPDX-License-Identifier: Apache-2.0
"""How far from a prediction the truth may lie: half-widths in log units from errors on held-out networks."""

import math
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
