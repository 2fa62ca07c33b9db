# SPDX-License-Identifier: Apache-2.0
"""The measured device that is most like the target stands in for it, through a map that keeps the order."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.intervals import conformal, interval
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.proxies import Affine, affine
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.specs import alike
from edgeshift.predict.teachers import Teachers, teach

FORMS = ("best", "nearest")


@dataclass(frozen=True)
class Proxy(Model):
    """Latency is monotone across many devices: what is cheaper on one is cheaper on the other.

    Attributes:
        choice: "best" takes the proxy with the least leave-one-out error on the target's measurements,
            "nearest" the one whose spec sheet is most like the target's.
        device: Name of a fixed proxy; "" leaves it to `choice`.
    """

    card: ClassVar[Card] = Card(
        name="proxy",
        says="The most similar measured device, through an affine map of log cost.",
        paper="Lu et al., One Proxy Device Is Enough, SIGMETRICS 2022",
        link="https://arxiv.org/abs/2111.01203",
        needs="measurements",
    )

    choice: str = "best"
    device: str = ""

    def __post_init__(self) -> None:
        if self.choice not in FORMS:
            raise BadValue("choice", self.choice, f"one of {', '.join(FORMS)}")

    def fit(self, samples: Samples, target: str, seed: int = 0) -> "FittedProxy":
        """See `Model.fit`; needs another device. Without measurements the proxy's own costs are the answer."""
        samples.check()
        teachers = teach(samples, target, seed)
        if self.device and self.device not in teachers.devices:
            raise BadValue("device", self.device, f"one of {', '.join(teachers.devices)}")
        names = (self.device,) if self.device else teachers.devices
        cost = samples.column(target) if target in samples.devices else np.full(len(samples), np.nan)
        known = np.flatnonzero(~np.isnan(cost))
        if len(known) and self.choice == "best":
            logs = teachers.logs(samples.only(known), names).T
            maps = [affine(log, np.log(cost[known])) for log in logs]
            place = int(np.argmin([float(m.left_out @ m.left_out) for m in maps]))
        else:
            shares = alike(samples, names, target)
            place = int(np.argmax(shares))
            # No measurement: the spread of a proxy's error is unknown; half a log unit says "within 2.3 times".
            maps = [Affine(1.0, 0.0, np.full(20, 0.5))] * (place + 1)
            if len(known):
                log = teachers.logs(samples.only(known), names[place : place + 1])[:, 0]
                maps[place] = affine(log, np.log(cost[known]))
        source = f"proxy {names[place]}, {len(known)} measurements"
        return FittedProxy(teachers, names[place], maps[place], samples.unit, source)


@dataclass(frozen=True)
class FittedProxy(Fitted):
    """A proxy and the map from it.

    Attributes:
        teachers: Hold the proxy's prices.
        device: The proxy.
        line: From its log cost to the target's.
        unit: Of the answers.
        source: For the reader.
    """

    teachers: Teachers
    device: str
    line: Affine
    unit: str
    source: str

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`."""
        log = self.teachers.logs(queries, (self.device,))[:, 0]
        return interval(self.line(log), conformal(self.line.left_out, level), level, self.source, self.unit)
