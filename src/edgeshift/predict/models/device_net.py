# SPDX-License-Identifier: Apache-2.0
"""Prices of operators learnt on many devices, moved to a new one by its spec sheet and a few measurements."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.adapt import Belief, answer, believe, refitted, unmeasured, ways
from edgeshift.predict.draws import draw
from edgeshift.predict.features import Matrix
from edgeshift.predict.intervals import Prior, conformal, interval, of_groups
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.rehearse import rehearse, strangers
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.specs import compiled
from edgeshift.predict.teachers import Teachers, teach

# A relative error below this is no logarithm's business: twenty times too dear.
LEAST_ERROR = -0.95


@dataclass(frozen=True)
class DeviceNet(Model):
    """A device is a vector of prices; a Gaussian process over vectors has learnt which ones exist.

    The scalable predictor of the paper with a closed form in place of a trained network: cost = sum of
    operator counts times prices, in the view of the graph (as written, live, as a converter leaves it) that
    the measurements favour, plus a smooth bend. The prior of the prices is the other devices' own prices.

    Attributes:
        rehearsals: Other families on which the adaptation is played through, as if each were the new
            device: that sets how wide intervals must be, and which settings to expect. 0 = none. Where nothing is
            measured all other families are played, or none.
        refits: Most fits in which measurements are left out in turn: their errors set the intervals' width. 0 = the
            closed form, in no time, whose intervals are a tenth too narrow.
    """

    card: ClassVar[Card] = Card(
        name="device_net",
        says="Operator prices learnt on other devices, adapted by spec sheet and few measurements.",
        paper="Lu et al., Scaling Up DNN Optimization for Edge Inference, 2020",
        link="https://arxiv.org/abs/2009.00278",
        needs="measurements",
    )

    rehearsals: int = 6
    refits: int = 25

    def __post_init__(self) -> None:
        if self.rehearsals < 0:
            raise BadValue("rehearsals", self.rehearsals, "0 or more")
        if self.refits < 0 or self.refits == 1:
            raise BadValue("refits", self.refits, "0, or 2 or more")

    def fit(self, samples: Samples, target: str, seed: int = 0) -> "FittedDeviceNet":
        """See `Model.fit`; needs other devices, and takes the target's spec sheet and measurements as they come."""
        samples.check()
        teachers = teach(samples, target, seed)
        known = (
            np.flatnonzero(~np.isnan(samples.column(target)))
            if target in samples.devices
            else np.zeros(0, int)
        )
        said = compiled(samples, target)
        plan = rehearse(teachers, samples, target, known, self.rehearsals, seed)
        ready, level = teachers.about(samples, target)
        likely = ready.likely_views(said)
        errors = np.zeros(0)
        away: tuple[Matrix, ...] = ()
        if len(known):
            inputs, cost = ways(teachers, samples.only(known)), samples.column(target)[known]
            start = plan.settings + np.log(likely)[:, None]
            beliefs, _ = believe(inputs, cost, start)
            if self.refits and len(known) > 1:
                errors = refitted(inputs, cost, start, self.refits)
            else:
                closed = max(beliefs, key=lambda b: b.weight).errors
                errors = np.log1p(np.maximum(closed, LEAST_ERROR))
            source = f"device_net, {len(known)} measurements"
            ready = teachers
        else:
            beliefs = unmeasured(ready, level, likely)
            away = strangers(teachers, samples, seed) if self.rehearsals else ()
            source = "device_net, no measurement" + ("" if target in samples.profiles else ", no spec sheet")
        return FittedDeviceNet(ready, tuple(beliefs), plan.prior, errors, away, samples.unit, source)


@dataclass(frozen=True)
class FittedDeviceNet(Fitted):
    """Prices of one device.

    Attributes:
        teachers: Where the prices come from.
        beliefs: One per view.
        prior: How wide errors were in the rehearsals.
        errors: `(k,)`, log errors on the measured networks, each left out.
        away: Where nothing is measured: errors on every other family as if it were the new one, see `strangers`.
        unit: Of the answers.
        source: For the reader.
    """

    teachers: Teachers
    beliefs: tuple[Belief, ...]
    prior: Prior
    errors: Matrix
    away: tuple[Matrix, ...] = ()
    unit: str = "ms"
    source: str = ""

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`.

        Intervals are as wide as the target's own leave-one-out errors say, by rank (jackknife, Barber et al., Annals
        of Statistics 2021, https://arxiv.org/abs/1905.02928): of k errors the `ceil((k + 1) level)`-th, which on the
        average of draws covers `level` on every device and not only in the mean of devices. Where k is too small for
        that rank (below 9 at level 0.9), the other devices' errors set the width. Where nothing is measured, intervals
        hold `level` over unseen families, not within one (`of_groups`): how far off the level of the whole device
        is, is one draw for all its networks. With too few families for that, `source` says so.
        """
        middle, deviation = answer(self.beliefs, ways(self.teachers, queries))
        k, source = len(self.errors), self.source
        if math.ceil((k + 1) * level - 1e-9) <= k:
            width = np.full(len(middle), conformal(self.errors, level))
        else:
            best = max(self.beliefs, key=lambda b: b.weight)
            known = self.prior.half_width(best.left_out, level)
            if k == 0:
                held = of_groups(self.away, level)
                source += f", interval from {len(self.away)} other families"
                if math.isfinite(held):
                    known = held
                else:
                    source += ", too few to calibrate it"
            width = known * deviation
        return interval(middle, width, level, source, self.unit)

    def left_out(self) -> Matrix | None:
        """See `Fitted.left_out`."""
        return self.errors if len(self.errors) else None

    def tables(self, queries: Samples, count: int, seed: int = 0, *, noise: bool = True) -> Matrix:
        """`(count, n)` log costs, each row a device that the measurements allow; see `draw`."""
        return draw(self.beliefs, ways(self.teachers, queries), count, seed, noise=noise)
