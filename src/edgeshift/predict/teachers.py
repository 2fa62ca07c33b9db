# SPDX-License-Identifier: Apache-2.0
"""What measured devices teach about one that is not: the price of each operator, and how prices vary."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from edgeshift.core.errors import BadValue
from edgeshift.predict.features import Encoder, Matrix, encoder
from edgeshift.predict.nonnegative import relative_fit
from edgeshift.predict.samples import Samples
from edgeshift.predict.specs import alike, typical_level

# Fewer networks than this and a device's own prices are noise; it teaches nothing.
LEAST = 30
# A source device's prices need no more networks than this, and fitting them stays under a second.
MOST = 1500


@dataclass(frozen=True)
class Teachers:
    """The other devices: each priced in the view of the graph that explains it best.

    Attributes:
        encoder: How networks become inputs.
        devices: Their names, J of them.
        families: Family of each.
        prices: `(J, 1 + p)`, cost of one unit of each sum, for a network of typical cost 1.
        levels: `(J,)`, typical cost in the samples' unit.
        views: View that each follows.
        bends: `(q, J)`, smooth relative deviation of each from its sum of prices.
        views_known: Every view there is.
        shares: `(J,)`, how much each speaks for the target; sum 1.
    """

    encoder: Encoder
    devices: tuple[str, ...]
    families: tuple[str, ...]
    prices: Matrix
    levels: Matrix
    views: tuple[str, ...]
    bends: Matrix
    views_known: tuple[str, ...]
    shares: Matrix

    def without(self, families: Collection[str]) -> "Teachers":
        """The teachers of other families, none speaking louder than another."""
        kept = [j for j, family in enumerate(self.families) if family not in families]
        return replace(
            self,
            devices=tuple(self.devices[j] for j in kept),
            families=tuple(self.families[j] for j in kept),
            prices=self.prices[kept],
            levels=self.levels[kept],
            views=tuple(self.views[j] for j in kept),
            bends=self.bends[:, kept],
            shares=np.full(len(kept), 1 / max(1, len(kept))),
        )

    def about(self, samples: Samples, target: str) -> tuple["Teachers", float]:
        """The teachers, those with a spec sheet like the target's speaking louder, and its expected level."""
        shares = alike(samples, self.devices, target)
        level = typical_level(samples, self.devices, self.levels, target, shares)
        return replace(self, shares=shares), level

    def logs(self, samples: Samples, names: tuple[str, ...] = ()) -> Matrix:
        """`(n, J)` log costs of networks on the devices, by their own prices: they need not be measured there.

        Args:
            samples: n networks.
            names: Of some of the devices; all if empty.
        """
        sums = {view: self.encoder.sums(samples, view) for view in self.views_known}
        smooth = self.encoder.smooth(samples)
        found = []
        for j in map(self.devices.index, names or self.devices):
            made = sums[self.views[j]] @ (self.prices[j] * self.levels[j])
            found.append(np.log(np.maximum(made, 1e-3 * self.levels[j])) + smooth @ self.bends[:, j])
        return np.stack(found, 1)

    def likely_views(self, compiled: bool | None) -> Matrix:
        """`(views,)`, how likely the target follows each, before anything is measured on it.

        Args:
            compiled: Whether its runtime compiles graphs, as its spec sheet says; None = unknown.
        """
        votes = np.array(
            [
                sum(s for s, v in zip(self.shares, self.views, strict=True) if v == view)
                for view in self.views_known
            ]
        )
        if compiled is True and "live" in self.views_known:
            # A compiling runtime executes no dead branch, whatever the eager devices did.
            votes = votes * np.array([view != "written" for view in self.views_known])
            votes[self.views_known.index("live")] += 0.5
        # 0.02: no view is ever excluded; ten measurements can still prove it.
        votes = votes + 0.02
        found: Matrix = votes / votes.sum()
        return found


def teach(samples: Samples, target: str, seed: int = 0) -> Teachers:
    """Learn prices from every device but the target.

    Raises:
        BadValue: If no other device has enough measured networks.
    """
    code = encoder(samples, seed)
    names = tuple(
        d for j, d in enumerate(samples.devices)
        if d != target and (~np.isnan(samples.cost[:, j])).sum() >= LEAST
    )  # fmt: skip
    if not names:
        raise BadValue("samples", f"no device but {target}", f"another device with {LEAST} measured networks")
    rng = np.random.default_rng(seed)
    rows = np.arange(len(samples)) if len(samples) <= MOST else np.sort(rng.permutation(len(samples))[:MOST])
    used = samples.only(rows)
    sums = {view: code.sums(used, view) for view in code.views}
    smooth = code.smooth(used)
    prices, levels, views, bends = [], [], [], []
    for name in names:
        cost = used.column(name)
        known = ~np.isnan(cost)
        fits = {view: relative_fit(sums[view][known], cost[known]) for view in code.views}
        view = min(fits, key=lambda v: fits[v][1])
        price = fits[view][0]
        made = sums[view] @ price
        level = float(np.exp(np.log(np.maximum(made, 1e-12 * made.max())).mean()))
        prices.append(price / level)
        levels.append(level)
        views.append(view)
        floor = 1e-3 * float(cost[known].min())
        rest = np.log(cost[known]) - np.log(np.maximum(made[known], floor))
        bends.append(_bend(smooth[known], rest - rest.mean()))
    families = tuple(samples.family(name) for name in names)
    return Teachers(
        code,
        names,
        families,
        np.array(prices),
        np.array(levels),
        tuple(views),
        np.stack(bends, 1),
        tuple(code.views),
        np.full(len(names), 1 / len(names)),
    )


def _bend(smooth: Matrix, rest: Matrix) -> Matrix:
    """Ridge of the deviation on smooth features; the penalty has the least exact leave-one-out error."""
    u, s, vt = np.linalg.svd(smooth, full_matrices=False)
    projected = u.T @ rest
    best, coefficients = np.inf, np.zeros(smooth.shape[1])
    for penalty in len(rest) * np.logspace(-6, 2, 17):
        shrink = s**2 / (s**2 + penalty)
        left = (rest - u @ (shrink * projected)) / (1 - np.minimum((u**2) @ shrink, 0.999))
        error = float(np.mean(left**2))
        if error < best:
            best, coefficients = error, vt.T @ (s / (s**2 + penalty) * projected)
    return coefficients
