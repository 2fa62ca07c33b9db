# SPDX-License-Identifier: Apache-2.0
"""Replays a measured timeline with every operator changed as the layer models say: what would that cost?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.intervals import interval
from edgeshift.predict.layers import AT, LEAST_MS, Line, graphs, layers_of, line, measured
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.network import KINDS, Network, count_matrix
from edgeshift.predict.rates import from_networks, refined
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.timeline import Task, Timeline, replay, scaled

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
    base) as rates of kernels say that were learnt on both devices; then the tasks are replayed.

    Attributes:
        base: Device whose timelines are replayed; "" = the target itself.
        streams: Operators that may run side by side.
        least: Networks measured on a device from which its rates are learnt, if it has no layers.
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

    def __post_init__(self) -> None:
        if self.streams < 1:
            raise BadValue("streams", self.streams, "at least 1")

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
        bare = Replayed(replayed, after, self.streams, Line(0.0, 1.0, np.empty(0)), samples.unit)
        # Networks measured on the target say how far replays are off there; without any, nothing does.
        known, cost = measured(samples, target)
        own = [i for i in known if networks[i].name in timelines]
        if self.base in ("", target) or not own:
            return bare
        log_guess = np.log([bare.guess(networks[i]) for i in own])
        at = dict(zip(known.tolist(), cost.tolist(), strict=True))
        return Replayed(
            replayed, after, self.streams, line(log_guess, np.log([at[i] for i in own])), samples.unit
        )

    def _rates(self, samples: Samples, device: str) -> Callable[[Array], Array]:
        layers = layers_of(samples, device)
        if layers is not None:
            return refined(layers.rows, np.arange(len(layers)), layers.ms)
        known, cost = measured(samples, device)
        if len(known) < self.least:
            raise BadValue(
                f"measurements on {device} for what_if", len(known), f"at least {self.least}, or layers"
            )
        return from_networks([samples.networks[i] for i in known], cost)[0]


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
    """

    anchors: tuple[Anchor, ...]
    after: Callable[[Array], Array]
    streams: int
    line: Line
    unit: str

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

        return max(replay(scaled(anchor.timeline, factor), self.streams), LEAST_MS)

    def nearest(self, network: Network) -> Anchor:
        """The network of that name without what follows its first "/", else the most similar one."""
        for anchor in self.anchors:
            if anchor.network.name in (network.name, network.name.split("/")[0]):
                return anchor
        counts = count_matrix([network, *(a.network for a in self.anchors)])
        gaps = np.abs(counts[1:] - counts[0]).sum(axis=1)
        return self.anchors[int(gaps.argmin())]
