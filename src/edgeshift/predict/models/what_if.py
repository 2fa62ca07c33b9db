# SPDX-License-Identifier: Apache-2.0
"""Replays a measured timeline with every operator changed as the layer models say: what would that cost?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.intervals import interval
from edgeshift.predict.layers import AT, LEAST_MS, Line, graphs, layers_of, line, measured
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.network import KINDS, Network, count_matrix
from edgeshift.predict.rates import FEW, LayerMs, Rates, from_networks, refined, shares
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.smooth import process
from edgeshift.predict.timeline import Task, Timeline, replay, scaled
from edgeshift.predict.trees import both, forest, held_out

Array = NDArray[np.float64]
# A runtime's operator, by a part of its name -> the kinds of kernels it computes. What fits nothing is "rest".
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("conv", ("conv_1x1", "conv_3x3", "conv_large", "depthwise", "grouped")),
    ("gemm", ("linear",)),
    ("matmul", ("linear",)),
    ("pool", ("pool", "global_pool")),
    ("add", ("add",)),
)
REST = "rest"
# Share of a network's time below which a group is not compared by itself.
SMALL = 0.1


@dataclass(frozen=True)
class WhatIf(Model):
    """Daydream on a network's timeline: int8, other widths, another runtime, clock or number of threads.

    The base device's profile holds `timelines`: network name -> `{"tasks": [[name, op, ms], ...], "call_ms": ms}`,
    as `edgeshift.predict.timeline.profiled` makes them. A query is answered from the timeline whose network is most
    like it: every operator is scaled by (its kind in the query, on the target) / (its kind in that network, on the
    base) as rates of kernels say that were learnt on both devices; then the tasks are replayed. Where enough
    networks were measured on both devices, the change itself is learnt from them instead, beyond the paper: the log
    of (cost on the target / on the base) from what the rates say of both and from how far the rates are off on the
    base; the timeline's sum times that ratio is the answer.

    Attributes:
        base: Device whose timelines are replayed; "" = the target itself.
        streams: Operators that may run side by side.
        least: Networks measured on a device from which its rates are learnt, if it has no layers.
        trees: In the forest that learns the factor.
    """

    card: ClassVar[Card] = Card(
        name="what_if",
        says="A measured timeline replayed with an optimisation applied to its operators.",
        paper="Zhu et al., ATC 2020 (Daydream)",
        link="https://arxiv.org/abs/2006.03318",
        needs="measurements",
    )

    base: str = ""
    streams: int = 1
    least: int = 20
    trees: int = 50

    def __post_init__(self) -> None:
        if self.streams < 1 or self.trees < 1:
            raise BadValue("streams and trees", (self.streams, self.trees), "at least 1")

    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """See `Model.fit`; needs graphs, timelines, and layers or `least` networks on base and target."""
        networks = graphs(samples, "what_if")
        base = self.base or target
        timelines = samples.profiles.get(base, {}).get("timelines", {})
        anchors = [n for n in networks if n.name in timelines]
        if not anchors:
            raise BadValue(f"timelines of {base}", len(timelines), "those of some of the networks")
        before, after = self._rates(samples, base), self._rates(samples, target)
        replayed = tuple(
            Anchor(network, timeline_of(timelines[network.name]), by_group(network, before))
            for network in anchors
        )
        change, residuals = self._change(samples, base, target, before, after, replayed, seed)
        bare = Replayed(replayed, after, self.streams, Line(0.0, 1.0, residuals), samples.unit, change)
        # Networks with a timeline measured on the target too say how far replays are off there.
        known, cost = measured(samples, target)
        own = [i for i in known if networks[i].name in timelines]
        if base == target or not own or change is not None:
            return bare
        log_guess = np.log([bare.guess(networks[i]) for i in own])
        at = dict(zip(known.tolist(), cost.tolist(), strict=True))
        return replace(bare, line=line(log_guess, np.log([at[i] for i in own])))

    def _change(
        self,
        samples: Samples,
        base: str,
        target: str,
        before: LayerMs,
        after: LayerMs,
        anchors: tuple["Anchor", ...],
        seed: int,
    ) -> tuple["Change | None", Array]:
        """What the change does to a network's cost, and the errors on networks it did not see; None if too few."""
        known, cost = measured(samples, target)
        networks, first = [samples.networks[i] for i in known], cost
        if base != target:
            there, on_base = measured(samples, base)
            common, at, own = np.intersect1d(known, there, return_indices=True)
            networks, cost, first = [samples.networks[i] for i in common], cost[at], on_base[own]
        else:
            # A timeline is a measurement of its network on the target.
            names = {network.name for network in networks}
            more = [a for a in anchors if a.network.name not in names]
            networks += [a.network for a in more]
            cost = first = np.concatenate([cost, [a.timeline.total_ms for a in more]])
        if len(networks) < max(self.least, 2 * FEW):
            return None, np.empty(0)
        bare = Change(after, before, base == target)
        x, log_rates = bare.described(networks, first)
        left = np.log(cost) - log_rates
        fit = both(forest(self.trees, seed), process)
        residuals = held_out(fit, x, left, seed)
        return replace(bare, left=fit(x, left)), residuals

    def _rates(self, samples: Samples, device: str) -> LayerMs:
        layers = layers_of(samples, device)
        if layers is not None:
            return refined(layers.rows, np.arange(len(layers)), layers.ms)
        known, cost = measured(samples, device)
        if len(known) < self.least:
            raise BadValue(
                f"measurements on {device} for what_if", len(known), f"at least {self.least}, or layers"
            )
        return from_networks([samples.networks[i] for i in known], cost)


def call_of(rates: LayerMs) -> float:
    """ms once per call, where the rates know it."""
    return rates.call_ms if isinstance(rates, Rates) else 0.0


def timeline_of(raw: Mapping[str, Any]) -> Timeline:
    """The timeline in a profile, one operator after the other.

    Raises:
        BadValue: If it is malformed.
    """
    try:
        tasks = [
            Task(str(n), str(op), float(ms), (i - 1,) if i else ())
            for i, (n, op, ms) in enumerate(raw["tasks"])
        ]
        return Timeline(tuple(tasks), float(raw["call_ms"])).check()
    except (KeyError, TypeError, ValueError) as error:
        raise BadValue("timeline", str(error), "tasks of name, operator and ms, and call_ms") from error


def group_of(op: str) -> str:
    """The group of a runtime's operator."""
    return next((part for part, _ in GROUPS if part in op.lower()), REST)


def by_group(network: Network, layer_ms: Callable[[Array], Array]) -> dict[str, float]:
    """Group -> ms of a network's kernels; groups of the same kinds share their sum."""
    rows = network.kernel_rows
    ms = np.maximum(layer_ms(rows), LEAST_MS)
    kinds = [KINDS[int(kind)] for kind in rows[:, AT["kind"]]]
    named = {kind for _, members in GROUPS for kind in members}
    found = {part: sum(m for m, k in zip(ms, kinds, strict=True) if k in members) for part, members in GROUPS}
    return found | {REST: sum(m for m, k in zip(ms, kinds, strict=True) if k not in named)}


@dataclass(frozen=True)
class Anchor:
    """A network whose timeline is known.

    Attributes:
        network: The network.
        timeline: Measured on the base.
        groups: What the base's rates say of it.
    """

    network: Network
    timeline: Timeline
    groups: Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """What a change does to the cost of a whole network.

    Attributes:
        after: Rates of the target.
        before: Rates of the base.
        same: Whether both are one device, so that a query differs from its anchor, not a device from another.
        left: From `described` to the log of what is left of the cost.
    """

    after: LayerMs
    before: LayerMs
    same: bool
    left: Callable[[Array], Array] | None = None

    def described(self, networks: Sequence[Network], on_base: Array) -> tuple[Array, Array]:
        """`(n, d)` what the rest is learnt from, and `(n,)` the log of the cost that rates alone expect.

        Args:
            networks: n of them.
            on_base: `(n,)`, what each costs on the base.
        """
        x, log_after = shares(networks, self.after, call_of(self.after))
        if self.same:
            return x, log_after
        y, log_before = shares(networks, self.before, call_of(self.before))
        log_base = np.log(on_base)
        own = np.stack([log_base - log_before, log_base], 1)
        return np.hstack([x, y, own]), log_base + log_after - log_before

    def cost(self, network: Network, anchor: Anchor) -> float:
        """Of a network, from its anchor's timeline."""
        assert self.left is not None
        total = np.array([max(anchor.timeline.total_ms, LEAST_MS)])
        pair = [network, anchor.network]
        if self.same:  # what was measured of the anchor, times what the two are expected to differ by
            x, log = self.described(pair, total.repeat(2))
            found = log + self.left(x)
            return float(total[0] * np.exp(found[0] - found[1]))
        # A query that is not the anchor itself costs on the base what the rates say that the two differ by.
        log_before = shares(pair, self.before, call_of(self.before))[1]
        x, log = self.described([network], total * np.exp(log_before[0] - log_before[1]))
        return float(np.exp(log[0] + self.left(x)[0]))


@dataclass(frozen=True)
class Replayed(Fitted):
    """What `WhatIf` learnt.

    Attributes:
        anchors: Networks with timelines.
        after: Rates of the target.
        streams: For the replay.
        line: From the log of the replay to the log of the cost.
        unit: Of the costs.
        change: What the change does to whole networks; None = too few were measured on both devices.
    """

    anchors: tuple[Anchor, ...]
    after: LayerMs
    streams: int
    line: Line
    unit: str
    change: "Change | None" = None

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`; needs graphs."""
        guesses = np.log([self.guess(network) for network in graphs(queries, "what_if")])
        source = f"what_if, {len(self.anchors)} timelines"
        return interval(self.line(guesses), self.line.half_width(level), level, source, self.unit)

    def guess(self, network: Network) -> float:
        """The replay in ms, or the timeline's sum after the change where that was learnt."""
        anchor = self.nearest(network)
        if self.change is not None and self.streams == 1:
            return max(self.change.cost(network, anchor), LEAST_MS)
        now = by_group(network, self.after)
        whole = sum(now.values()) / max(sum(anchor.groups.values()), LEAST_MS)

        def factor(task: Task) -> float:
            group = group_of(task.op)
            # A rate of a small group may be fitted to nothing: the whole network's factor stands in.
            small = anchor.groups[group] < SMALL * sum(anchor.groups.values())
            return whole if small else now[group] / anchor.groups[group]

        return max(replay(scaled(anchor.timeline, factor), self.streams), LEAST_MS)

    def nearest(self, network: Network) -> Anchor:
        """The network of that name without what follows its first "/", else the most similar one."""
        for anchor in self.anchors:
            if anchor.network.name in (network.name, network.name.split("/")[0]):
                return anchor
        counts = count_matrix([network, *(a.network for a in self.anchors)])
        gaps = np.abs(counts[1:] - counts[0]).sum(axis=1)
        return self.anchors[int(gaps.argmin())]
