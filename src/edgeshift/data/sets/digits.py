# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits that ship inside scikit-learn."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import NotInstalled
from edgeshift.data.parts import stratified
from edgeshift.data.split import DataSet, Split

# scikit-learn's pixels are 0..16.
BRIGHTEST = 16


@dataclass(frozen=True)
class Digits:
    """1,797 grey digits of 8x8 pixels, from 43 people.

    Attributes:
        seed: Another seed, another split.
    """

    card: ClassVar[Card] = Card(
        name="digits",
        says="1,797 handwritten digits, 8x8 grey; ships inside scikit-learn.",
        paper="Alpaydin and Kaynak, UCI Machine Learning Repository 1998",
        link="https://archive.ics.uci.edu/dataset/80",
        needs="nothing",
    )

    seed: int = 0

    def open(self) -> DataSet:
        """See `Source.open`; pixels are `value * 255 / 16`, halves rounded up."""
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise NotInstalled("scikit-learn", "derive") from error
        raw = load_digits()
        images = np.floor(raw.images * 255 / BRIGHTEST + 0.5).astype(np.uint8)[:, None]
        labels = raw.target.astype(np.int64)
        keys = [str(i) for i in range(len(labels))]
        # About 1,100 to train, 300 to choose by, 390 to report.
        parts = stratified(labels, keys, self.seed, validation=17, test=22)

        def read(which: str) -> Split:
            return Split(images[parts[which]], labels[parts[which]])

        return DataSet("digits", images.shape[1:], tuple(str(n) for n in raw.target_names), read)
