# SPDX-License-Identifier: Apache-2.0
"""Channels chosen under a budget, and masks on the columns that read them. Methods share it."""

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeshift.core.errors import BadValue
from edgeshift.core.values import ChannelGroup
from edgeshift.sparsity.allocation import knapsack
from edgeshift.train.cut import Cut
from edgeshift.train.macs import Macs

# Rounds of solving with the widths that came out before; more change nothing on ResNet-56 and VGG-16.
ROUNDS = 12
# Share of a group's worth below which losing more of it hardly counts.
FAINT = 0.02
# A choice that costs this share of the budget is dear enough to stop.
NEAR = 0.99


@dataclass(frozen=True)
class Prices:
    """What layers cost by the rows and columns left: a measured table where there is one, else MACs.

    Attributes:
        macs: The network.
        table: Weight -> `rows`, `columns` (rising sizes) and `cost` (rows x columns). A size between two
            entries costs what the next larger one does, as kernels that work in blocks do.
    """

    macs: Macs
    table: Mapping[str, Mapping[str, list[float]]] | None = None

    @staticmethod
    def of(macs: Macs, path: str) -> "Prices":
        """Prices from a JSON file; an empty path means multiply-accumulates.

        Raises:
            BadValue: If the file is no table, or lacks a layer of the network.
        """
        if not path:
            return Prices(macs)
        try:
            table = json.loads(Path(path).read_text(encoding="utf-8"))["layers"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadValue(
                "table", path, "a JSON file with `layers`: weight -> rows, columns, cost; see Prices"
            ) from error
        for name in macs.layers:
            if name not in table:
                raise BadValue("table", path, f"one with a cost for every layer; it lacks {name}")
        return Prices(macs, table)

    def layer(self, name: str, rows: int, columns: int) -> float:
        """Of one layer with that many rows and columns left."""
        if self.table is None:
            shape = (*self.macs.shapes[name], 1)
            return self.macs.layers[name] * rows * columns / (shape[0] * shape[1])
        entry = self.table[name]
        row = min(bisect_left(entry["rows"], rows), len(entry["rows"]) - 1)
        column = min(bisect_left(entry["columns"], columns), len(entry["columns"]) - 1)
        costs: list[list[float]] = entry["cost"]  # type: ignore[assignment]  # the one nested entry
        return float(costs[row][column])

    def total(self, kept: Mapping[str, int]) -> float:
        """Of the network where each group keeps that many channels."""
        widths = self.macs.widths(kept)
        return sum(self.layer(name, *widths[name]) for name in self.macs.layers)

    @cached_property
    def charged(self) -> Mapping[str, tuple[tuple[str, float], ...]]:
        """Group -> the layers that make or read its channels, each with the part of its cost that the group bears.

        A layer's cost is shared evenly by all groups that its rows and columns belong to. Charging readers alone,
        as the paper does, leaves the last group of a network uncut, since the classifier that reads it is cheap.
        """
        touching: dict[str, set[str]] = {name: set() for name in self.macs.layers}
        for group in self.macs.groups:
            for name in {*group.rows, *group.columns} & touching.keys():
                touching[name].add(group.name)
        return {
            group.name: tuple((n, 1 / len(who)) for n, who in touching.items() if group.name in who)
            for group in self.macs.groups
        }

    def of_option(
        self, group: ChannelGroup, count: int, widths: Mapping[str, tuple[int, int]], now: int
    ) -> float:
        """What is charged to a group that keeps `count` channels, the others as they are.

        Args:
            group: The group.
            count: Channels that it is to keep.
            widths: Weight -> rows and columns left, where the group keeps `now` channels.
            now: See `widths`.
        """
        borne = self.charged[group.name]
        after = grown(widths, group, count - now, [name for name, _ in borne])
        return sum(part * self.layer(name, *after[name]) for name, part in borne)


def options_of(group: ChannelGroup, most: int, multiple: int, least: float) -> list[int]:
    """Numbers of channels a group may keep: multiples, the share `least` at least, and `most`."""
    low = min(most, max(1, round(least * group.channels)))
    return sorted({min(most, max(low, k)) for k in (*range(multiple, most + 1, multiple), most, low)})


def choose_channels(
    worth: Mapping[str, Tensor],
    groups: Sequence[ChannelGroup],
    prices: Prices,
    budget: float,
    multiple: int,
    least: float = 0.0,
    *,
    survival: bool = False,
    relative: bool = False,
) -> dict[str, Tensor]:
    """The channels of highest total worth whose network costs at most `budget`.

    Costs of two groups multiply where one layer reads one and makes the other, so the knapsack is solved
    with the widths of the round before, and its budget moved by what the choice really costs. The dearest
    choice that fits is kept, and what is left of the budget is spent on the next channels.

    Args:
        worth: Group -> `(channels,)`, 0 or more; minus infinity for channels that are gone already.
        groups: The groups to choose from.
        prices: What a choice costs.
        budget: In the unit of `prices`.
        multiple: Groups keep multiples of it.
        least: Share of each group that stays.
        survival: Groups count by the logarithm of the share of their worth that stays, so that what is chosen
            maximises the product of all shares: a signal passes every group on its way, and none is emptied for
            being dear. False = the plain sum of worth.
        relative: No knapsack: channels of all groups are ranked together, see `ranked`. `survival` does nothing then.

    Returns:
        Group -> `(channels,)`, bool.

    Raises:
        BadValue: If no choice fits.
    """
    order = {g.name: torch.argsort(worth[g.name].cpu(), descending=True, stable=True) for g in groups}
    alive = {g.name: int((worth[g.name] > float("-inf")).sum()) for g in groups}
    options = [options_of(g, alive[g.name], multiple, least) for g in groups]
    sums = {g.name: np.cumsum(worth[g.name].cpu()[order[g.name]].double().numpy()) for g in groups}
    values = [[float(sums[g.name][k - 1]) for k in ks] for g, ks in zip(groups, options, strict=True)]
    low = {g.name: ks[0] for g, ks in zip(groups, options, strict=True)}
    if (least_possible := prices.total(low)) > budget * (1 + 1e-9):
        raise BadValue("kept cost", budget, f"at least {least_possible:.6g}, what the smallest widths cost")
    if relative:
        return firsts(order, ranked(ladders_of(groups, options, values), prices, budget), groups)
    if survival:
        values = [[math.log1p(v / max(vs[-1], 1e-30) / FAINT) for v in vs] for vs in values]
    kept, best, highest = dict(alive), None, -1.0
    room = budget
    for _ in range(ROUNDS):
        widths = prices.macs.widths(kept)
        costs = [
            [prices.of_option(g, k, widths, kept[g.name]) for k in ks]
            for g, ks in zip(groups, options, strict=True)
        ]
        charged = sum(prices.of_option(g, kept[g.name], widths, kept[g.name]) for g in groups)
        fixed = prices.total(kept) - charged
        least_cost = sum(map(min, costs))
        picks = knapsack(values, costs, max(room - fixed, least_cost))
        kept = {g.name: ks[k] for g, ks, k in zip(groups, options, picks, strict=True)}
        cost = prices.total(kept)
        if highest < cost <= budget * (1 + 1e-9):
            best, highest = dict(kept), cost
            if cost > NEAR * budget:
                break
        if cost > 0:
            room = min(max(room * budget / cost, room / 2), 2 * budget)
    best = filled(best or low, ladders_of(groups, options, values), prices, budget)
    return firsts(order, best, groups)


def ladders_of(
    groups: Sequence[ChannelGroup], options: Sequence[Sequence[int]], values: Sequence[Sequence[float]]
) -> dict[str, dict[int, float]]:
    """Group -> number of channels that it may keep -> worth of that many."""
    return {g.name: dict(zip(ks, vs, strict=True)) for g, ks, vs in zip(groups, options, values, strict=True)}


def firsts(
    order: Mapping[str, Tensor], counts: Mapping[str, int], groups: Sequence[ChannelGroup]
) -> dict[str, Tensor]:
    """Group -> which channels, `(channels,)`, bool: so many of the most worth."""
    found = {}
    for group in groups:
        chosen = torch.zeros(group.channels, dtype=torch.bool)
        chosen[order[group.name][: counts[group.name]]] = True
        found[group.name] = chosen
    return found


def ranked(ladders: Mapping[str, Mapping[int, float]], prices: Prices, budget: float) -> dict[str, int]:
    """Widths shrunk, option by option, until the budget holds: always where least is lost for a group's own size.

    What goes is compared with the mean worth of the channels that its group still has (the normalised global ranking
    of Fang et al., CVPR 2023, https://arxiv.org/abs/2301.12900). Groups whose worth lies in few channels become
    narrow, groups whose channels are all alike stay wide, whatever they cost.

    Args:
        ladders: Group -> number of channels -> sum of their worth, rising.
        prices: What widths cost; the smallest fit.
        budget: At most.
    """
    found = {name: max(ladder) for name, ladder in ladders.items()}
    rungs = {name: sorted(ladder) for name, ladder in ladders.items()}
    while prices.total(found) > budget * (1 + 1e-9):
        steps = []
        for name, ladder in ladders.items():
            if (at := rungs[name].index(found[name])) > 0:
                now, fewer = found[name], rungs[name][at - 1]
                lost = (ladder[now] - ladder[fewer]) / (now - fewer)
                steps.append((lost / max(ladder[now] / now, 1e-30), name, fewer))
        _, name, fewer = min(steps)
        found[name] = fewer
    return found


def filled(
    kept: Mapping[str, int], ladders: Mapping[str, Mapping[int, float]], prices: Prices, budget: float
) -> dict[str, int]:
    """Widths grown, option by option, while one fits: the one of most worth for its cost first.

    Where none fits any more, one group may grow and another give up an option for it, as long as worth rises.

    Args:
        kept: Group -> channels, within the budget.
        ladders: Group -> number of channels -> worth of keeping that many, rising.
        prices: What widths cost.
        budget: At most.
    """
    found, groups = dict(kept), {g.name: g for g in prices.macs.groups}
    widths = prices.macs.widths(found)
    rungs = {name: sorted(ladder) for name, ladder in ladders.items()}
    most = budget * (1 + 1e-9)

    def next_to(name: str, step: int) -> int | None:
        """The option above (1) or below (-1) the one at hand."""
        at = rungs[name].index(found[name]) + step
        return rungs[name][at] if 0 <= at < len(rungs[name]) else None

    def moved(
        name: str, count: int, base: Mapping[str, tuple[int, int]]
    ) -> tuple[float, dict[str, tuple[int, int]]]:
        """What the cost changes by, and the widths that change, if a group keeps that many."""
        touched = [n for n, _ in prices.charged[name]]
        after = grown(base, groups[name], count - found[name], touched)
        return sum(prices.layer(n, *after[n]) - prices.layer(n, *base[n]) for n in touched), after

    while True:
        now = sum(prices.layer(n, *widths[n]) for n in prices.macs.layers)
        best: tuple[float, dict[str, int]] = (0.0, {})
        swap: tuple[float, dict[str, int]] = (0.0, {})
        for name in ladders:
            if (up := next_to(name, 1)) is None:
                continue
            cost, after = moved(name, up, widths)
            gain = ladders[name][up] - ladders[name][found[name]]
            if now + cost <= most:
                rate = (gain + 1e-300) / max(cost, 1e-12 * budget)
                best = max(best, (rate, {name: up}), key=lambda b: b[0])
                continue
            wider = {**widths, **after}
            for other in ladders:
                if other == name or (down := next_to(other, -1)) is None:
                    continue
                more = gain + ladders[other][down] - ladders[other][found[other]]
                if more > swap[0] * (1 + 1e-9) + 1e-12 and now + cost + moved(other, down, wider)[0] <= most:
                    swap = (more, {name: up, other: down})
        step = best[1] or swap[1]
        if not step:
            return found
        for name, count in step.items():
            widths.update(moved(name, count, widths)[1])
            found[name] = count


def grown(
    widths: Mapping[str, tuple[int, int]], group: ChannelGroup, more: int, names: Iterable[str]
) -> dict[str, tuple[int, int]]:
    """Rows and columns of the named weights, once a group has that many more channels."""

    def each(table: Mapping[str, np.ndarray], name: str) -> int:
        return int(table[name].shape[1]) if name in table else 0

    return {
        n: (widths[n][0] + more * each(group.rows, n), widths[n][1] + more * each(group.columns, n))
        for n in names
    }


def column_masks(
    chosen: Mapping[str, Tensor], groups: Iterable[ChannelGroup], shapes: Mapping[str, Sequence[int]]
) -> dict[str, Tensor]:
    """Weight -> bool `(1, in, 1, ...)`: columns that read a chosen channel, or one of no group."""
    masks: dict[str, Tensor] = {}
    for group in groups:
        gone = ~chosen[group.name].cpu().numpy()
        for name, columns in group.columns.items():
            if name not in masks:
                shape = shapes[name]
                masks[name] = torch.ones((1, shape[1], *[1] * (len(shape) - 2)), dtype=torch.bool)
            masks[name][:, torch.from_numpy(columns[gone].ravel())] = False
    return masks


def row_masks(
    chosen: Mapping[str, Tensor], groups: Iterable[ChannelGroup], shapes: Mapping[str, Sequence[int]]
) -> dict[str, Tensor]:
    """Parameter -> bool tensor of its shape: rows that make a chosen channel, or one of no group."""
    masks: dict[str, Tensor] = {}
    for group in groups:
        gone = ~chosen[group.name].cpu().numpy()
        for name, rows in group.rows.items():
            mask = masks.setdefault(name, torch.ones(tuple(shapes[name]), dtype=torch.bool))
            mask[torch.from_numpy(rows[gone].ravel())] = False
    return masks


def column_sums(
    values: Mapping[str, Tensor], group: ChannelGroup, index: Callable[[NDArray[np.int64]], Tensor]
) -> Tensor:
    """`(channels,)`: elementwise values of the columns that read each channel, added up over all readers.

    Args:
        values: Weight -> tensor of its shape.
        group: The channels.
        index: Puts an array of the group where the values are.
    """
    total = None
    for name, columns in group.columns.items():
        by_column = values[name].transpose(0, 1).flatten(1).sum(1)
        part = by_column[index(columns)].sum(1)
        total = part if total is None else total + part
    assert total is not None, "a group that is read"
    return total


def chosen_of(masks: Mapping[str, Tensor], groups: Iterable[ChannelGroup]) -> dict[str, Tensor]:
    """Group -> `(channels,)`, bool: the channels that row masks keep; all where there is no mask."""
    found = {}
    for group in groups:
        chosen = torch.ones(group.channels, dtype=torch.bool)
        for name, rows in group.rows.items():
            if name in masks:
                by_row = masks[name].cpu().flatten(1).any(1) if masks[name].ndim > 1 else masks[name].cpu()
                chosen &= by_row[torch.from_numpy(rows)].all(1)
        found[group.name] = chosen
    return found


def is_stream(group: ChannelGroup, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether several layers make the channels of a group; one that only passes each channel on does not count.

    Args:
        group: The channels.
        shapes: Weight -> shape, of convolutions and linear layers.
    """
    return sum(name in shapes and shapes[name][1] > 1 for name in group.rows) > 1


def groups_to_cut(
    groups: Iterable[ChannelGroup],
    exclude: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    streams: bool,
) -> tuple[ChannelGroup, ...]:
    """The groups whose channels a method may choose from.

    Args:
        groups: Of the network.
        exclude: See `Cut`.
        shapes: See `is_stream`.
        streams: Whether residual streams are among them.

    Raises:
        BadValue: If there is none.
    """
    free = Cut("magnitude", "channel", tuple(exclude)).free(tuple(groups))
    found = tuple(g for g in free if streams or not is_stream(g, shapes))
    if not found:
        but = " but those of its residual streams, which streams=true lets go" if free else ""
        raise BadValue("channel groups", (), f"at least one; this model has no channels that may go{but}")
    return found
