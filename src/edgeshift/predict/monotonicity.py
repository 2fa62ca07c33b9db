# SPDX-License-Identifier: Apache-2.0
"""Whether one device may stand for another: rank agreement, and a decision with a stated confidence."""

import math
from dataclasses import dataclass

import numpy as np

from edgeshift.core.errors import BadValue
from edgeshift.predict.features import Matrix
from edgeshift.predict.intervals import normal
from edgeshift.predict.samples import Samples
from edgeshift.predict.scores import ranks, spearman

# At true agreement 0.90 to 0.95 a reused Pareto front loses a point of accuracy, above 0.95 half of that.
THRESHOLD = 0.9
VERDICTS = ("reuse", "adapt", "undecided")


def agreement(samples: Samples) -> Matrix:
    """`(m, m)` Spearman correlations of all pairs of devices, on the networks that both were measured on."""
    m = len(samples.devices)
    found = np.eye(m)
    for i in range(m):
        for j in range(i):
            known = ~(np.isnan(samples.cost[:, i]) | np.isnan(samples.cost[:, j]))
            value = spearman(samples.cost[known, i], samples.cost[known, j])
            found[i, j] = found[j, i] = value
    return found


@dataclass(frozen=True)
class Verdict:
    """Whether a proxy may be reused.

    Attributes:
        proxy: Its name.
        agreement: Estimated Spearman correlation with the target over all networks.
        low: Lower end of its 90 % interval.
        high: Upper end.
        probability: That the true correlation reaches the threshold.
        says: "reuse", "adapt" or "undecided".
    """

    proxy: str
    agreement: float
    low: float
    high: float
    probability: float
    says: str


@dataclass(frozen=True)
class Rule:
    """When to say yes.

    Attributes:
        threshold: Correlation that counts as monotone.
        accept: Least probability for "reuse".
        reject: Largest probability for "adapt"; between the two the answer is "undecided".
    """

    threshold: float = THRESHOLD
    accept: float = 0.9
    reject: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.reject <= self.accept <= 1:
            raise BadValue("accept", self.accept, f"from reject ({self.reject}) to 1")

    def verdict(self, proxy: str, draws: Matrix) -> Verdict:
        """The decision from `(s,)` correlations that the measurements allow."""
        share = float((draws >= self.threshold).mean())
        says = "reuse" if share >= self.accept else "adapt" if share <= self.reject else "undecided"
        low, high = np.quantile(draws, [0.05, 0.95])
        return Verdict(proxy, float(draws.mean()), float(low), float(high), share, says)


def correlations(proxy: Matrix, tables: Matrix) -> Matrix:
    """`(s,)`: Spearman correlation of a proxy's costs `(n,)` with each of `(s, n)` possible tables."""
    x = ranks(proxy)
    x = x - x.mean()
    y = np.stack([ranks(row) for row in tables])
    y = y - y.mean(1, keepdims=True)
    norm = np.sqrt((x @ x) * (y**2).sum(1))
    found: Matrix = (y @ x) / np.where(norm > 0, norm, 1)
    return found


def from_pairs(proxy: str, a: Matrix, b: Matrix, rule: Rule, reliability: float = 1.0) -> Verdict:
    """The decision from k networks measured on both devices and nothing else.

    Fisher's transform with Spearman's variance `(1 + rho^2 / 2) / (k - 3)` (Bonett and Wright, Psychometrika
    2000, https://doi.org/10.1007/BF02294183). The correlation is divided by the root of the target's
    reliability first, since noise hides agreement.

    Args:
        proxy: Name for the answer.
        a: `(k,)` on the proxy.
        b: `(k,)` on the target.
        rule: When to say yes.
        reliability: Rank correlation of two sessions on the target, 1 = no noise.

    Raises:
        BadValue: If k is below 5.
    """
    k = len(a)
    if k < 5:
        raise BadValue("networks measured on both", k, "5 or more")
    rho = min(0.9999, spearman(a, b) / math.sqrt(reliability))
    z, deviation = math.atanh(max(rho, -0.9999)), math.sqrt((1 + rho**2 / 2) / (k - 3))
    wide = normal(0.9) * deviation
    above = 0.5 * (1 - math.erf((math.atanh(rule.threshold) - z) / deviation / math.sqrt(2)))
    says = "reuse" if above >= rule.accept else "adapt" if above <= rule.reject else "undecided"
    return Verdict(proxy, rho, math.tanh(z - wide), math.tanh(z + wide), above, says)
