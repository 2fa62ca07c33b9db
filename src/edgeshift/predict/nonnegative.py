# SPDX-License-Identifier: Apache-2.0
"""Least squares whose coefficients are not negative: what an operator costs is never below 0."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def nonnegative(gram: Matrix, moment: Matrix, rounds: int = 60) -> Matrix:
    """`b >= 0` that minimises `b' gram b / 2 - moment' b`, by exchanging whole blocks of variables.

    Kim and Park, SIAM J. Sci. Comput. 2011 (https://doi.org/10.1137/110821172).

    Args:
        gram: `(p, p)`, positive definite.
        moment: `(p,)`.
        rounds: Most exchanges before the best so far is clipped at 0.
    """
    p = len(moment)
    free = np.ones(p, bool)
    least, patience = p + 1, 3
    b, slope = np.zeros(p), -moment
    for _ in range(rounds):
        b, slope = np.zeros(p), gram @ np.zeros(p) - moment
        if free.any():
            b[free] = np.linalg.solve(gram[np.ix_(free, free)], moment[free])
            slope = gram @ b - moment
        # 1e-10 of the largest: rounding of the solve, not a violated sign.
        wrong = (free & (b < -1e-10 * np.abs(b).max(initial=1e-300))) | (
            ~free & (slope < -1e-10 * np.abs(moment).max(initial=1e-300))
        )
        count = int(wrong.sum())
        if count == 0:
            break
        if count < least:
            least, patience = count, 3
            free ^= wrong
        elif patience > 0:
            patience -= 1
            free ^= wrong
        else:  # Murty's rule ends every cycle: exchange only the last variable
            free[np.flatnonzero(wrong)[-1]] ^= True
    return np.maximum(b, 0.0)


def relative_fit(sums: Matrix, cost: Matrix, rounds: int = 3, ridge: float = 1e-4) -> tuple[Matrix, float]:
    """Coefficients `b >= 0` with `sums @ b` near `cost` in relative error, and the error's root mean square.

    Errors are taken relative to the prediction (iteratively reweighted), not to the measurement, which would
    favour networks that were measured too cheap.

    Args:
        sums: `(n, p)`, 0 or more.
        cost: `(n,)`, above 0.
        rounds: Reweightings.
        ridge: Added to the diagonal, in units of the mean diagonal, so that twin columns share.
    """
    level = float(np.exp(np.log(cost).mean()))
    y = cost / level
    around = y
    b = np.zeros(sums.shape[1])
    for _ in range(rounds):
        x = sums / around[:, None]
        gram = x.T @ x
        gram += ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
        b = nonnegative(gram, x.T @ (y / around))
        around = np.maximum(sums @ b, 0.05 * y)
    error = (y - sums @ b) / around
    return b * level, float(np.sqrt(np.mean(error**2)))
