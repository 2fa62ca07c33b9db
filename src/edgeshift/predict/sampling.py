# SPDX-License-Identifier: Apache-2.0
"""Which networks to measure on a new device: those whose costs say most about all the others'."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.predict.adapt import ways
from edgeshift.predict.features import Matrix, encoder
from edgeshift.predict.samples import Samples
from edgeshift.predict.teachers import Teachers, teach

Rows = NDArray[np.int64]
# Relative variance of one measurement that choices are made for: 10 % and some, between servers and phones.
NOISE = 0.02


def choose(
    samples: Samples, target: str, count: int, how: str = "variance", seed: int = 0, pool: Rows | None = None
) -> Rows:
    """Rows of the networks to measure on the target, in the order in which to measure them.

    Args:
        samples: Networks, and the other devices' costs; the target's own are not read.
        target: The new device.
        count: How many.
        how: "variance" (needs other devices), "spread", "quantiles" or "random".
        seed: Of every draw.
        pool: Rows that can be measured; all if None.

    Raises:
        BadValue: If fewer networks exist.
        UnknownName: If there is no such way.
    """
    rows = np.arange(len(samples)) if pool is None else np.asarray(pool, np.int64)
    if not 0 < count <= len(rows):
        raise BadValue("count", count, f"1 to {len(rows)}")
    if how not in WAYS:
        raise UnknownName("way of choosing", how, WAYS)
    return rows[WAYS[how](samples, rows, target, count, np.random.default_rng(seed))]


def directions(teachers: Teachers, samples: Samples) -> Matrix:
    """`(n, t)`: relative ways in which networks' costs can differ from the teachers' mean, views included."""
    found = ways(teachers, samples)
    base = found[0].base
    columns = []
    for way in found:
        # Mixtures of teachers are expected; single prices and smooth bends of its own are less so.
        columns += [part / base[:, None] * share for part, share in zip(way.parts[1:], SHARES, strict=True)]
        columns.append((way.base / base)[:, None])
    return np.hstack([*columns, np.ones((len(base), 1))])


SHARES = (1.0, 0.5, 0.3, 0.03, 0.017)


def _variance(samples: Samples, rows: Rows, target: str, count: int, rng: np.random.Generator) -> Rows:
    """Greedy: the network whose measurement lowers the summed variance of all networks most."""
    if len(rows) > 1000:
        few = np.sort(rng.permutation(len(rows))[:1000])
    else:
        few = np.arange(len(rows))
    inside = directions(teach(samples, target), samples.only(rows[few]))
    kernel = inside @ inside.T
    taken: list[int] = []
    for _ in range(count):
        gain = (kernel**2).sum(1) / (np.diag(kernel) + NOISE)
        gain[taken] = -1.0
        best = int(np.argmax(gain))
        taken.append(best)
        kernel = kernel - np.outer(kernel[:, best], kernel[best]) / (kernel[best, best] + NOISE)
    return few[taken]


def _spread(samples: Samples, rows: Rows, target: str, count: int, rng: np.random.Generator) -> Rows:
    """Farthest point first: each network is the one least like those already chosen."""
    inside = encoder(samples).smooth(samples.only(rows))
    taken = [int(rng.integers(len(rows)))]
    away = ((inside - inside[taken[0]]) ** 2).sum(1)
    for _ in range(count - 1):
        taken.append(int(np.argmax(away)))
        away = np.minimum(away, ((inside - inside[taken[-1]]) ** 2).sum(1))
    return np.array(taken, np.int64)


def _quantiles(samples: Samples, rows: Rows, target: str, count: int, rng: np.random.Generator) -> Rows:
    """One network from each of `count` equal slices of the other devices' mean cost."""
    others = samples.without([target])
    if not others.devices:
        raise BadValue("samples", f"no device but {target}", "another device, for this way of choosing")
    logs = np.log(others.cost[rows])
    middle = np.nanmean(logs - np.nanmean(logs, 0), axis=1)
    order = np.argsort(middle, kind="stable")
    edges = np.linspace(0, len(rows), count + 1).astype(int)
    return np.array([order[rng.integers(a, max(a + 1, b))] for a, b in pairwise(edges)])


def _random(samples: Samples, rows: Rows, target: str, count: int, rng: np.random.Generator) -> Rows:
    return rng.permutation(len(rows))[:count]


WAYS: dict[str, Callable[[Samples, Rows, str, int, np.random.Generator], Rows]] = {
    "variance": _variance,
    "spread": _spread,
    "quantiles": _quantiles,
    "random": _random,
}
