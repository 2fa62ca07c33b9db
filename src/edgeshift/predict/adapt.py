# SPDX-License-Identifier: Apache-2.0
"""From the teachers' prices and a few measurements to a new device's: a Gaussian process over prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from edgeshift.predict.features import Matrix
from edgeshift.predict.samples import Samples
from edgeshift.predict.teachers import Teachers

# How far prices may leave the teachers' mean, in each of the ways of `ways`: tried together, weighted by how
# likely they make the measurements (marginal likelihood), so that none must be tuned on the new device.
LEVEL = 4.0
WITHIN, OWN, BENT, SMOOTH = (0.3, 1.0, 3.0), (0.0, 0.1, 0.5), (0.0, 0.3), (0.0, 0.01)
# A cost may also change by a share for each standard deviation of a count: 1.7 % of it, or not at all. Of 1e-4 to 1e-2
# tried on the source devices of the published splits this ranked best.
TILTED = (0.0, 3e-4)
NOISE = (1e-4, 4e-4, 1.6e-3, 6e-3, 2e-2, 6e-2)
GRID = np.array(list(product((LEVEL,), WITHIN, OWN, BENT, SMOOTH, TILTED, NOISE)))
# Degrees of freedom of the errors: timings have heavy tails.
TAIL = 4.0


@dataclass(frozen=True)
class Way:
    """Networks in one view, as directions in which a device's cost can move.

    Attributes:
        base: `(n,)`, cost at the teachers' mean prices.
        parts: Six matrices `(n, .)`: level, mixtures of teachers, single prices, teachers' bends, own bend, cost times
            each standardised count.
    """

    base: Matrix
    parts: tuple[Matrix, ...]

    @property
    def all(self) -> Matrix:
        """The parts side by side."""
        return np.hstack(self.parts)

    def only(self, rows: NDArray[np.bool_]) -> "Way":
        """The networks at those places."""
        return Way(self.base[rows], tuple(part[rows] for part in self.parts))


def ways(teachers: Teachers, samples: Samples) -> list[Way]:
    """The networks of `samples` in every view."""
    code = teachers.encoder
    count = len(teachers.devices)
    mean = teachers.shares @ teachers.prices
    apart = (teachers.prices - mean) * np.sqrt(teachers.shares)[:, None]
    # A price that no teacher varies can still differ: at least 2 % of a typical network's cost.
    own = np.maximum(np.sqrt((apart**2).sum(0)), 0.02 * mean.sum() / len(mean))
    smooth, tilts = code.smooth(samples), code.standard_counts(samples)
    bends = smooth @ (teachers.bends - teachers.bends.mean(1, keepdims=True)) / np.sqrt(max(1, count))
    found = []
    for view in teachers.views_known:
        sums = code.sums(samples, view)
        base = np.maximum(sums @ mean, 1e-6)
        one = base[:, None]
        found.append(Way(base, (one, sums @ apart.T, sums * own, one * bends, one * smooth, one * tilts)))
    return found


@dataclass(frozen=True)
class Belief:
    """What is believed of a device's prices in one view.

    Attributes:
        level: Typical cost in the samples' unit.
        mean: `(t,)`, step along each column of `Way.all`.
        spread: `(t, t)`, covariance of that step.
        noise: Variance of a measurement's relative error.
        weight: Share of this view, 0..1.
        left_out: `(k,)`, leave-one-out errors over their own predicted standard deviation.
        errors: `(k,)`, the same errors, relative to the cost.
    """

    level: float
    mean: Matrix
    spread: Matrix
    noise: float
    weight: float
    left_out: Matrix
    errors: Matrix


@dataclass(frozen=True)
class Evidence:
    """How well every setting of the grid explains the measurements, per view: logs, `(views, settings)`."""

    logs: Matrix

    @property
    def posterior(self) -> Matrix:
        """Shares of all settings and views together; sum 1."""
        found = np.exp(self.logs - self.logs.max())
        shares: Matrix = found / found.sum()
        return shares


def believe(
    inputs: Sequence[Way], cost: Matrix, prior: Matrix, rounds: int = 3
) -> tuple[list[Belief], Evidence]:
    """Update the teachers' prices with measurements.

    Args:
        inputs: The measured networks in every view.
        cost: `(k,)`, what they cost, k >= 1.
        prior: `(views, settings)`, log share of every setting before the measurements.
        rounds: Reweightings of the relative error.
    """
    fits = [_one_view(way, cost, own, rounds) for way, own in zip(inputs, prior, strict=True)]
    logs = np.stack([log for _, log in fits])
    top = logs.max(1)
    per_view = top + np.log(np.exp(logs - top[:, None]).sum(1))
    weights = np.exp(per_view - per_view.max())
    weights /= weights.sum()
    beliefs = [
        Belief(b.level, b.mean, b.spread, b.noise, float(w), b.left_out, b.errors)
        for (b, _), w in zip(fits, weights, strict=True)
    ]
    return beliefs, Evidence(logs)


def _one_view(way: Way, cost: Matrix, prior: Matrix, rounds: int) -> tuple[Belief, Matrix]:
    k = len(cost)
    level = float(np.exp(np.mean(np.log(cost) - np.log(way.base))))
    y = cost / level
    kernels = np.stack([part @ part.T for part in way.parts])
    around, heavy = way.base.copy(), np.ones(k)
    joined = way.all
    sizes = [part.shape[1] for part in way.parts]
    for turn in range(rounds):
        rest = (y - way.base) / around
        scaled = kernels / np.outer(around, around)
        logs = _likelihoods(scaled, rest, heavy) + prior - np.log(around).sum()
        share = np.exp(logs - logs.max())
        # 1e-2: what hundreds of times less likely settings would add is below the last digit shown.
        used = np.flatnonzero(share > 1e-2)
        share = share[used] / share[used].sum()
        solved = np.linalg.solve(
            _joint(scaled, heavy, used), np.broadcast_to(rest[:, None], (len(used), k, 1))
        )
        pull = (solved[:, :, 0] / around) @ joined
        mean = (np.repeat(share[:, None] * GRID[used, :-1], sizes, axis=1) * pull).sum(0)
        made = np.maximum(way.base + joined @ mean, 0.02 * np.median(way.base))
        noise = float(share @ GRID[used, -1])
        error = (y - made) / np.maximum(made, 0.1 * y)
        if turn < rounds - 1:
            around = np.maximum(made, 0.1 * y)
            heavy = (TAIL + error**2 / noise) / (TAIL + 1)
    best = np.array([np.argmax(logs)])
    inverse = np.linalg.inv(_joint(scaled, heavy, best)[0])
    errors = (inverse @ rest) / np.diag(inverse)
    left_out = errors * np.sqrt(np.diag(inverse))
    wide = np.repeat(GRID[best[0], :-1], sizes)
    inside = (joined / around[:, None]) * wide
    spread = np.diag(wide) - inside.T @ inverse @ inside
    return Belief(level, mean, spread, noise, 0.0, left_out, errors), logs


def _joint(kernels: Matrix, heavy: Matrix, used: NDArray[np.int64]) -> Matrix:
    """`(s, k, k)`: covariance of the measurements under some settings of the grid."""
    k = len(heavy)
    flat: Matrix = GRID[used, :-1] @ kernels.reshape(len(kernels), -1)
    found: Matrix = flat.reshape(-1, k, k) + GRID[used, -1, None, None] * np.diag(heavy)
    return found


def _likelihoods(kernels: Matrix, rest: Matrix, heavy: Matrix) -> Matrix:
    """`(s,)`: log likelihood of every setting, up to a constant.

    One Cholesky factor of the covariance with the measurements as its last row holds both terms: that row
    is `L^-1 rest`.
    """
    k = len(rest)
    framed = np.zeros((len(GRID), k + 1, k + 1))
    framed[:, :k, :k] = _joint(kernels, heavy, np.arange(len(GRID)))
    framed[:, k, :k] = framed[:, :k, k] = rest
    # Above rest' K^-1 rest for every setting, so that the frame stays positive definite.
    framed[:, k, k] = 1 + float(rest @ rest) / (GRID[:, -1].min() * heavy.min())
    lower = np.linalg.cholesky(framed)
    row = lower[:, k, :k]
    logs: Matrix = -0.5 * (row**2).sum(1) - np.log(np.diagonal(lower, axis1=1, axis2=2)[:, :k]).sum(1)
    return logs


def refitted(inputs: Sequence[Way], cost: Matrix, prior: Matrix, most: int) -> Matrix:
    """`(k,)` log errors of measurements, each predicted from a belief that was formed without it.

    The closed form in `Belief.errors` keeps the settings and weights that the measurement itself has helped to choose,
    and looks a tenth too good at 20 measurements.

    Args:
        inputs: The measured networks in every view.
        cost: `(k,)`, k >= 2.
        prior: See `believe`.
        most: Beliefs to form: with more measurements than that, several are left out at a time.
    """
    part = np.arange(len(cost)) % most
    errors = np.empty(len(cost))
    for place in np.unique(part):
        out = part == place
        beliefs, _ = believe([way.only(~out) for way in inputs], cost[~out], prior)
        errors[out] = np.log(cost[out]) - answer(beliefs, [way.only(out) for way in inputs])[0]
    return errors


def answer(beliefs: Sequence[Belief], inputs: Sequence[Way]) -> tuple[Matrix, Matrix]:
    """Log cost and its standard deviation, `(n,)` each, views mixed by their weight."""
    middle = np.zeros(len(inputs[0].base))
    square = np.zeros_like(middle)
    logs = []
    for belief, way in zip(beliefs, inputs, strict=True):
        joined = way.all
        made = np.maximum(way.base + joined @ belief.mean, 0.02 * np.median(way.base))
        doubt = np.einsum("ij,jk,ik->i", joined, belief.spread, joined, optimize=True) / made**2
        logs.append(np.log(made * belief.level))
        middle += belief.weight * logs[-1]
        square += belief.weight * (belief.noise + np.clip(doubt, 0, 4))
    for belief, log in zip(beliefs, logs, strict=True):
        square += belief.weight * (log - middle) ** 2
    return middle, np.sqrt(square)


def unmeasured(teachers: Teachers, level: float, likely: Matrix) -> list[Belief]:
    """What is believed before the first measurement: the teachers' mean prices at the expected level."""
    steps = 1 + len(teachers.devices) + teachers.prices.shape[1] + teachers.bends.shape[1]
    steps += teachers.encoder.mix.shape[1] + len(teachers.encoder.counted)
    spread = np.zeros((steps, steps))
    return [Belief(level, np.zeros(steps), spread, 0.04, float(w), np.zeros(0), np.zeros(0)) for w in likely]
