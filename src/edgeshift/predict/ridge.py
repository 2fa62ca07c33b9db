# SPDX-License-Identifier: Apache-2.0
"""Ridge regression whose penalty is chosen by exact leave-one-out errors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
PENALTIES = np.logspace(-4, 4, 33)
# Below this, 1 - leverage is rounding. A larger floor would shrink the errors of near-interpolations, which then win.
LEAST = 1e-12


@dataclass(frozen=True)
class Ridge:
    """A fitted line.

    Attributes:
        centre: `(p,)`, subtracted from inputs.
        spread: `(p,)`, divides them then.
        slope: `(p,)`.
        offset: Mean of the targets.
        left_out: `(k,)`, truth minus prediction, each by a fit without that row.
    """

    centre: Matrix
    spread: Matrix
    slope: Matrix
    offset: float
    left_out: Matrix

    def __call__(self, inputs: Matrix) -> Matrix:
        """`(n,)` predictions."""
        found: Matrix = (inputs - self.centre) / self.spread @ self.slope + self.offset
        return found


def ridge(inputs: Matrix, targets: Matrix, penalties: Matrix = PENALTIES) -> Ridge:
    """The ridge with the least squared leave-one-out error, in closed form (PRESS, Allen 1974).

    Inputs are standardised on the rows at hand and the mean is not penalised; the leave-one-out errors count
    the mean's own leverage.

    Args:
        inputs: `(k, p)`.
        targets: `(k,)`.
        penalties: Tried, in units of the number of rows.
    """
    k = len(inputs)
    centre, spread = inputs.mean(0), inputs.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    offset = float(targets.mean())
    u, s, vt = np.linalg.svd((inputs - centre) / spread, full_matrices=False)
    projected = u.T @ (targets - offset)
    best = np.inf
    slope, left_out = np.zeros(inputs.shape[1]), targets - offset
    for penalty in penalties * k / 100:
        shrink = s**2 / (s**2 + penalty)
        leverage = (u**2) @ shrink + 1 / k
        errors = (targets - offset - u @ (shrink * projected)) / np.maximum(1 - leverage, LEAST)
        if float(errors @ errors) < best:
            best, left_out = float(errors @ errors), errors
            slope = vt.T @ (s / (s**2 + penalty) * projected)
    return Ridge(centre, spread, slope, offset, left_out)
