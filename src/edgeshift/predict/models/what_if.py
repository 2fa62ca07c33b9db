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
    base) as rates of kernels say that were learnt on both devices; then the tasks are replayed. Beyond the paper,
    the replay is multiplied by what networks measured on both devices needed beyond their rates: a statistical
    factor as in `stacked`, learnt from the change itself, so that what rates say wrongly of both devices cancels.

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
        factor, residuals = self._factor(samples, base, target, before, after, seed)
        bare = Replayed(
            replayed, after, self.streams, Line(0.0, 1.0, residuals), samples.unit, factor, base == target
        )
        # Networks with a timeline measured on the target too say how far replays are off there.
        known, cost = measured(samples, target)
        own = [i for i in known if networks[i].name in timelines]
        if base == target or not own:
            return bare
        log_guess = np.log([bare.guess(networks[i]) for i in own])
        at = dict(zip(known.tolist(), cost.tolist(), strict=True))
        return replace(bare, line=line(log_guess, np.log([at[i] for i in own])))

    def _factor(
        self, samples: Samples, base: str, target: str, before: LayerMs, after: LayerMs, seed: int
    ) -> tuple[Callable[[Sequence[Network]], Array] | None, Array]:
        """What a change does beyond rates, as logs per network, and its errors on networks it did not see.

        For another device the log of (measured on the target / on the base) less that of the rates' word; on the
        base itself the log of (measured / the rates' word), of which a query's and its anchor's are compared.
        """
        known, cost = measured(samples, target)
        if base != target:
            there, first = measured(samples, base)
            common, at, own = np.intersect1d(known, there, return_indices=True)
            cost = cost[at] / first[own]
            known = common
        if len(known) < max(self.least, 2 * FEW):
            return None, np.empty(0)

        def described(networks: Sequence[Network]) -> tuple[Array, Array]:
            x, log_after = shares(networks, after, call_of(after))
            if base == target:
                return x, log_after
            y, log_before = shares(networks, before, call_of(before))
            return np.hstack([x, y]), log_after - log_before

        x, log_rates = described([samples.networks[i] for i in known])
        left = np.log(cost) - log_rates
        fit = both(forest(self.trees, seed), process)
        learnt = fit(x, left)
        residuals = held_out(fit, x, left, seed)
        return lambda networks: learnt(described(networks)[0]), residuals

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
class Replayed(Fitted):
    """What `WhatIf` learnt.

    Attributes:
        anchors: Networks with timelines.
        after: Rates of the target.
        streams: For the replay.
        line: From the log of the replay to the log of the cost.
        unit: Of the costs.
        factor: Logs of what the change does beyond rates, one a network; None = nothing is known of it.
        same: Whether base and target are one device, so that only what query and anchor differ by counts.
    """

    anchors: tuple[Anchor, ...]
    after: LayerMs
    streams: int
    line: Line
    unit: str
    factor: Callable[[Sequence[Network]], Array] | None = None
    same: bool = False

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`; needs graphs."""
        guesses = np.log([self.guess(network) for network in graphs(queries, "what_if")])
        source = f"what_if, {len(self.anchors)} timelines"
        return interval(self.line(guesses), self.line.half_width(level), level, source, self.unit)

    def guess(self, network: Network) -> float:
        """The replay in ms."""
        anchor = self.nearest(network)
        now = by_group(network, self.after)
        whole = sum(now.values()) / max(sum(anchor.groups.values()), LEAST_MS)

        def factor(task: Task) -> float:
            group = group_of(task.op)
            # A rate of a small group may be fitted to nothing: the whole network's factor stands in.
            small = anchor.groups[group] < SMALL * sum(anchor.groups.values())
            return whole if small else now[group] / anchor.groups[group]

        found = max(replay(scaled(anchor.timeline, factor), self.streams), LEAST_MS)
        if self.factor is None:
            return found
        logs = self.factor([network, anchor.network])
        return found * float(np.exp(logs[0] - (logs[1] if self.same else 0.0)))

    def nearest(self, network: Network) -> Anchor:
        """The network of that name without what follows its first "/", else the most similar one."""
        for anchor in self.anchors:
            if anchor.network.name in (network.name, network.name.split("/")[0]):
                return anchor
        counts = count_matrix([network, *(a.network for a in self.anchors)])
        gaps = np.abs(counts[1:] - counts[0]).sum(axis=1)
        return self.anchors[int(gaps.argmin())]
