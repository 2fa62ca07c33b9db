# SPDX-License-Identifier: Apache-2.0
"""Features as predictors use them: sums that costs add up from, one matrix for each view of the graph."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.predict.samples import Samples

Matrix = NDArray[np.float64]


def counts_only(samples: Samples) -> Matrix:
    """The features without one-hot codes (`at/...`): what a regression on few networks can bear."""
    kept = _counted(samples.feature_names)
    return samples.features[:, kept] if kept else samples.features


def _counted(names: tuple[str, ...]) -> list[int]:
    return [i for i, name in enumerate(names) if not name.startswith("at/")]


def views_of(names: tuple[str, ...]) -> dict[str, list[int]]:
    """View -> columns of its sums, in one order for all; one view "" where names tell of none.

    Names `view/name` make a view if at least two prefixes bring the same names. `at/...` columns belong to
    no view; without views they are sums like any other.
    """
    found: dict[str, dict[str, int]] = {}
    for column, name in enumerate(names):
        prefix, slash, rest = name.partition("/")
        if slash and prefix != "at":
            found.setdefault(prefix, {})[rest] = column
    first = next(iter(found.values()), {})
    alike = {view: columns for view, columns in found.items() if columns.keys() == first.keys()}
    if len(alike) < 2:
        return {"": list(range(len(names)))}
    used = {column for columns in alike.values() for column in columns.values()}
    shared = [c for c, name in enumerate(names) if c not in used and not name.startswith("at/")]
    return {view: [columns[rest] for rest in first] + shared for view, columns in alike.items()}


@dataclass(frozen=True)
class Encoder:
    """How raw features become inputs, learnt from networks whose costs are not looked at.

    Attributes:
        names: Feature names, or () of a table without.
        width: Number of raw features.
        views: View -> columns.
        scale: `(p,)`, typical size of each sum, the same for every view.
        lowest: `(width,)`, smallest value of a feature that goes below 0, else 0.
        centre: `(width,)`, mean of each raw feature.
        spread: `(width,)`, standard deviation, 1 where a feature is constant.
        landmarks: `(r, width)`, standardised networks that similarity is measured to.
        mix: `(r, q)`, from similarities to smooth features.
    """

    names: tuple[str, ...]
    width: int
    views: dict[str, list[int]]
    scale: Matrix
    lowest: Matrix
    centre: Matrix
    spread: Matrix
    landmarks: Matrix
    mix: Matrix

    def sums(self, samples: Samples, view: str) -> Matrix:
        """`(n, 1 + p)`: a constant, and sums of typical size 1 in one view of the graph."""
        added = self._added(samples)[:, self.views[view]] / self.scale
        return np.hstack([np.ones((len(added), 1)), added])

    def smooth(self, samples: Samples) -> Matrix:
        """`(n, q)`: coordinates in which nearby networks are alike."""
        self._fits(samples)
        return _near((samples.features - self.centre) / self.spread, self.landmarks) @ self.mix

    @property
    def counted(self) -> list[int]:
        """Columns of the raw features that are no one-hot codes; all of a table without names."""
        return _counted(self.names) or list(range(self.width))

    def standard_counts(self, samples: Samples) -> Matrix:
        """`(n, c)`: the columns `counted`, in standard deviations from their mean."""
        self._fits(samples)
        return ((samples.features - self.centre) / self.spread)[:, self.counted]

    def _added(self, samples: Samples) -> Matrix:
        self._fits(samples)
        return _additive(samples.features - self.lowest, self.names)

    def _fits(self, samples: Samples) -> None:
        if samples.features.shape[1] != self.width:
            raise BadValue("features", samples.features.shape[1], f"{self.width} for each network")


def encoder(samples: Samples, seed: int = 0, landmarks: int = 120, smooth: int = 40) -> Encoder:
    """How the features of `samples` become inputs."""
    raw = samples.features
    names = samples.feature_names
    views = views_of(names) if names else {"": list(range(raw.shape[1]))}
    lowest = np.minimum(raw.min(0), 0.0)
    added = _additive(raw - lowest, names)
    sizes = np.stack([np.abs(added[:, columns]).mean(0) for columns in views.values()]).max(0)
    spread = raw.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    standard = (raw - raw.mean(0)) / spread
    rng = np.random.default_rng(seed)
    chosen = standard[np.sort(rng.permutation(len(raw))[:landmarks])]
    values, vectors = np.linalg.eigh(_near(chosen, chosen))
    kept = np.argsort(values)[::-1][:smooth]
    kept = kept[values[kept] > 1e-8 * values.max()]
    return Encoder(
        names=names,
        width=raw.shape[1],
        views=views,
        scale=np.where(sizes > 0, sizes, 1.0),
        lowest=lowest,
        centre=raw.mean(0),
        spread=spread,
        landmarks=chosen,
        mix=vectors[:, kept] / np.sqrt(values[kept]),
    )


def _additive(features: Matrix, names: tuple[str, ...]) -> Matrix:
    """The features with logarithms of sums turned back into sums."""
    logs = [i for i, name in enumerate(names) if name.rpartition("/")[2].startswith("log_")]
    found = features.copy()
    # 80: a sum of e^80 is no sum; keeps a stray value of a user's table from becoming infinite.
    found[:, logs] = np.expm1(np.minimum(features[:, logs], 80))
    return found


def _near(a: Matrix, b: Matrix) -> Matrix:
    """Gaussian similarity of standardised rows; as wide as the cloud itself, so a smooth map suffices."""
    width = 2.0 * a.shape[1]
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    found: Matrix = np.exp(-np.maximum(square, 0) / width)
    return found
