# SPDX-License-Identifier: Apache-2.0
"""The contract of a predictor."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.predict.samples import Prediction, Samples

NOUN = "predictor"


class Fitted(ABC):
    """A predictor that has seen its samples, for one device."""

    @abstractmethod
    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """What the networks of `queries` cost on the device it was fitted for.

        Args:
            queries: Networks; their costs are not looked at and may be an `(n, 0)` array.
            level: Share of true values that the interval shall hold.
        """

    def left_out(self) -> NDArray[np.float64] | None:
        """`(k,)` log errors on the measured networks, each left out of the fit; None if it cannot say."""
        return None


class Model(ABC):
    """Learns the cost of networks on one device from what was measured there and elsewhere.

    A predictor holds options only. It takes logs itself, never sees the target's unmeasured costs, and
    gives equal answers for equal samples and seed.
    """

    card: ClassVar[Card]

    @abstractmethod
    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """Learn.

        Args:
            samples: Every device's costs; in the target's column most or all are NaN.
            target: Name of the device to predict for; if it is no column of `samples`, nothing was measured
                there, and its profile may still be in `samples.profiles`.
            seed: Of every draw.

        Raises:
            BadValue: If the predictor needs what the samples do not hold: measurements, graphs, other
                devices or a profile; the message says which.
        """
