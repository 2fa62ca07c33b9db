# SPDX-License-Identifier: Apache-2.0
"""Judge a predictor on a device as if it were new: its family is hidden, k networks are measured, the rest judge."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.predict.models.shape import Model
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.sampling import choose
from edgeshift.predict.scores import Score, score

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """How a device is held out.

    Attributes:
        device: The device that plays the new one.
        measured: How many of its networks the predictor may see.
        seed: Of the split and every draw.
        how: Way of choosing the measured networks, see `choose`.
        known: Networks that the other devices were measured on.
        judged: Most networks to judge on; none of them was seen by any device.
        pool: Networks of the known ones that could be measured on the new device, drawn at random.
    """

    device: str
    measured: int
    seed: int = 0
    how: str = "variance"
    known: int = 900
    judged: int = 2000
    pool: int = 450


def split(samples: Samples, trial: Trial) -> tuple[Rows, Rows]:
    """Rows that other devices were measured on, and rows that judge; both sorted, none shared.

    Small tables give two thirds to the known networks.

    Raises:
        BadValue: If the device is unknown, or too few networks are measured on it.
    """
    there = ~np.isnan(samples.column(trial.device))
    order = np.random.default_rng(trial.seed).permutation(len(samples))
    order = order[there[order]]
    known = min(trial.known, 2 * len(order) // 3)
    if known < max(trial.measured, 1):
        raise BadValue("measured networks", trial.measured, f"at most two thirds of {len(order)}")
    return np.sort(order[:known]), np.sort(order[known : known + trial.judged])


def hide(samples: Samples, trial: Trial) -> tuple[Samples, Samples]:
    """What a predictor may see, and the networks that judge it.

    Returns:
        The known networks without the device's family, its own column NaN but for the measured networks; and
        the judging networks with every cost.
    """
    rows, judges = split(samples, trial)
    family = samples.family(trial.device)
    kin = [d for d in samples.devices if samples.family(d) == family and d != trial.device]
    # The spec sheets of hidden kin are hidden with them.
    seen = samples.without(kin).only(rows)
    seen = replace(seen, profiles={d: p for d, p in seen.profiles.items() if d in seen.devices})
    place = seen.devices.index(trial.device)
    cost = seen.cost.copy()
    cost[:, place] = np.nan
    if trial.measured:
        size = min(len(rows), max(trial.pool, trial.measured))
        pool = np.sort(np.random.default_rng(1000 + trial.seed).permutation(len(rows))[:size])
        hidden = replace(seen, cost=cost)
        chosen = choose(hidden, trial.device, trial.measured, trial.how, trial.seed, pool)
        cost = cost.copy()
        cost[chosen, place] = seen.cost[chosen, place]
    return replace(seen, cost=cost), samples.only(judges)


@dataclass(frozen=True)
class Judged:
    """One trial's outcome.

    Attributes:
        trial: How it was done.
        score: How well it went.
        prediction: Of the judging networks.
        truth: What they cost.
    """

    trial: Trial
    score: Score
    prediction: Prediction
    truth: NDArray[np.float64]


def hold_out(model: Model, samples: Samples, trial: Trial, level: float = 0.9) -> Judged:
    """Fit without the device's family and judge on networks that nothing was fitted on."""
    seen, judges = hide(samples, trial)
    fitted = model.fit(seen, trial.device, trial.seed)
    truth = judges.column(trial.device)
    queries = replace(judges, cost=np.empty((len(judges), 0)), devices=())
    prediction = fitted.predict(queries, level)
    return Judged(trial, score(prediction, truth), prediction, truth)


def summary(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Mean, least and largest of every figure over seeds."""
    found = {}
    for name in ("mape", "within_10", "spearman", "coverage"):
        values = np.array([getattr(s, name) for s in scores], float)
        found[name] = {
            "mean": float(values.mean()), "least": float(values.min()), "most": float(values.max())
        }  # fmt: skip
    return found
