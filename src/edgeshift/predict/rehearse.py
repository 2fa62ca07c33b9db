# SPDX-License-Identifier: Apache-2.0
"""Each known family in turn plays the new device: how wrong the adaptation is, and what it settles on."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeshift.predict.adapt import GRID, answer, believe, unmeasured, ways
from edgeshift.predict.features import Matrix
from edgeshift.predict.intervals import Prior
from edgeshift.predict.samples import Samples
from edgeshift.predict.specs import compiled
from edgeshift.predict.teachers import Teachers

# Networks on which a rehearsal is judged; more move its quantiles by less than a point.
JUDGED = 300
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)


@dataclass(frozen=True)
class Plan:
    """What rehearsals say before the target is looked at.

    Attributes:
        settings: `(views, settings)`, log share of each setting of the grid, views left equal.
        prior: Width of errors, in predicted standard deviations.
    """

    settings: Matrix
    prior: Prior


def rehearse(
    teachers: Teachers, samples: Samples, target: str, known: NDArray[np.int64], most: int, seed: int
) -> Plan:
    """Play the adaptation through with up to `most` other families.

    Args:
        teachers: The other devices.
        samples: All costs; the target's are not read.
        target: Name of the new device.
        known: Rows that are measured on the target: the stand-in is measured on the same networks.
        most: Families to play; fewer than two others leave the textbook's normal law.
        seed: Of the draw of devices and judged networks.
    """
    rng = np.random.default_rng(seed)
    kinds = sorted(set(teachers.families))
    if most == 0 or len(kinds) < 3:
        return Plan(np.full((len(teachers.views_known), len(GRID)), -math.log(len(GRID))), _normal())
    chosen = [kinds[i] for i in np.sort(rng.permutation(len(kinds))[:most])]
    shares, errors, squares = [], [], []
    for family in chosen:
        members = [d for d, f in zip(teachers.devices, teachers.families, strict=True) if f == family]
        found = _play(teachers.without([family]), samples, members[rng.integers(len(members))], known, rng)
        if found is None:
            continue
        share, error, left_out = found
        shares.append(share)
        errors.append(np.abs(error))
        squares.append(float(np.mean(left_out**2)) if len(left_out) else 1.0)
    if not errors:
        return Plan(np.full((len(teachers.views_known), len(GRID)), -math.log(len(GRID))), _normal())
    # Half the say stays with an even spread: eight devices do not know every setting a ninth may need.
    mean = 0.5 * np.mean(shares, axis=0) + 0.5 / len(GRID)
    settings = np.tile(np.log(mean), (len(teachers.views_known), 1))
    pooled = np.concatenate(errors)
    scale = math.sqrt(float(np.mean(squares))) if len(known) else 1.0
    quantiles = tuple((level, float(np.quantile(pooled, level)) / scale) for level in LEVELS)
    return Plan(settings, Prior(scale, _weight(squares, len(known)), quantiles))


def strangers(teachers: Teachers, samples: Samples, seed: int) -> tuple[Matrix, ...]:
    """Log errors in predicted deviations on the devices of each family, unmeasured and taught by the others alone.

    Args:
        teachers: The other devices.
        samples: Their costs and spec sheets.
        seed: Of the draw of judged networks.
    """
    rng = np.random.default_rng(seed)
    nothing = np.zeros(0, np.int64)
    found = []
    for family in sorted(set(teachers.families)):
        others = teachers.without([family])
        members = [d for d, f in zip(teachers.devices, teachers.families, strict=True) if f == family]
        errors = [_play(others, samples, member, nothing, rng) for member in members]
        known = [error for played in errors if played is not None for error in [played[1]]]
        if known:
            found.append(np.concatenate(known))
    return tuple(found)


def _weight(squares: list[float], k: int) -> float:
    """How many residuals the rehearsals' scale is worth: much if it varied little from device to device."""
    if k == 0 or len(squares) < 3:
        return 1e6 if k == 0 else 20.0
    logs = np.log(np.maximum(squares, 1e-6))
    # Variance of a log mean square from k residuals is about 2 / k (heavier tails: 3 / k); the rest is real.
    real = max(float(logs.var(ddof=1)) - 3 / k, 0.01)
    return 3 / real


def _play(
    teachers: Teachers, samples: Samples, device: str, known: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Matrix, Matrix, Matrix] | None:
    """Shares of settings, errors in predicted deviations, and leave-one-out errors; None if unmeasured."""
    cost = samples.column(device)
    there = np.flatnonzero(~np.isnan(cost))
    rows = known[~np.isnan(cost[known])]
    if len(rows) < len(known):
        spare = np.setdiff1d(there, rows)
        rows = np.concatenate([rows, rng.permutation(spare)[: len(known) - len(rows)]])
    judged = rng.permutation(np.setdiff1d(there, rows))[:JUDGED]
    if len(judged) < 20 or len(rows) < len(known) or not teachers.devices:
        return None
    if len(rows):
        ready = teachers
        likely = np.log(ready.likely_views(compiled(samples, device)))
        start = np.full((len(ready.views_known), len(GRID)), -math.log(len(GRID))) + likely[:, None]
        beliefs, evidence = believe(ways(ready, samples.only(rows)), cost[rows], start)
        share = evidence.posterior.sum(0)
        left_out = max(beliefs, key=lambda b: b.weight).left_out
    else:
        ready, level = teachers.about(samples, device)
        beliefs = unmeasured(ready, level, ready.likely_views(compiled(samples, device)))
        share, left_out = np.full(len(GRID), 1 / len(GRID)), np.zeros(0)
    middle, deviation = answer(beliefs, ways(ready, samples.only(judged)))
    return share, (np.log(cost[judged]) - middle) / deviation, left_out


def _normal() -> Prior:
    return Prior(1.0, 10.0)
