# SPDX-License-Identifier: Apache-2.0
"""The smallest set of variants that serves a fleet within a stated loss of accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.plan.spaces.shape import Floats

# Bits of the number that says which variants a device can run.
VARIANTS = 64
# Sets times profiles that are looked at before the greedy answer has to do: 2e8 take about 5 s.
EXACT = 200_000_000
BLOCK = 2_000


@dataclass(frozen=True)
class Shipped:
    """Variants that serve the fleet.

    Attributes:
        places: Of the variants, the most accurate first.
        mean_loss: Accuracy that a device loses against its own best variant, 0..1, over all that can be served.
        worst_loss: The most that any of them loses.
        smallest: Whether no smaller set keeps the stated loss: proven by trying all of them.
    """

    places: tuple[int, ...]
    mean_loss: float
    worst_loss: float
    smallest: bool


def ship(profiles: Mapping[int, int], accuracy: Floats, loss: float) -> Shipped:
    """The fewest variants with a mean loss of at most `loss`, such that every device that can be served is.

    k-median with devices as demand, grouped by profile: devices that can run the same variants are one point. Greedy
    adding and swapping (Arya et al., 2004, https://doi.org/10.1137/S0097539702416402) gives a set; all smaller sets
    are tried where they are few enough.

    Args:
        profiles: Which variants fit, bit i for variant i -> number of devices; 0 = devices that nothing fits.
        accuracy: `(v,)`, 0..1.
        loss: Mean loss that is accepted, 0..1.

    Raises:
        BadValue: If there are more than 64 variants, or no device can be served.
    """
    if not 0 < len(accuracy) <= VARIANTS:
        raise BadValue("variants of a fleet's portfolio", len(accuracy), f"1..{VARIANTS}")
    masks = np.array(sorted(m for m in profiles if m), np.uint64)
    if not len(masks):
        raise BadValue("devices that a variant fits", 0, "at least one")
    weight = np.array([profiles[int(m)] for m in masks], float)
    losses = _losses(masks, accuracy)
    chosen = _greedy(losses, weight, loss)
    smaller, proven = _smaller(losses, weight, loss, len(chosen))
    if smaller is not None:
        chosen = list(smaller)
    each = losses[:, chosen].min(1)
    order = sorted(chosen, key=lambda i: (-accuracy[i], i))
    return Shipped(tuple(order), float(each @ weight / weight.sum()), float(each.max()), proven)


def _losses(masks: NDArray[np.uint64], accuracy: Floats) -> Floats:
    """`(profiles, v)`: what a device loses if only that variant is shipped; inf if it does not fit."""
    bits = (masks[:, None] >> np.arange(len(accuracy), dtype=np.uint64)) & np.uint64(1)
    fits = bits.astype(bool)
    best = np.where(fits, accuracy, -np.inf).max(1)
    return np.where(fits, best[:, None] - accuracy, np.inf)


def _mean(losses: Floats, weight: Floats, chosen: list[int]) -> float:
    return float(losses[:, chosen].min(1) @ weight / weight.sum())


def _greedy(losses: Floats, weight: Floats, loss: float) -> list[int]:
    v = losses.shape[1]
    # A device that is not served counts as losing more than everything, so that serving comes first.
    bounded = np.where(np.isinf(losses), 1e3, losses)
    chosen: list[int] = []
    while len(chosen) < v:
        rest = [i for i in range(v) if i not in chosen]
        chosen.append(min(rest, key=lambda i: _mean(bounded, weight, [*chosen, i])))
        chosen = _swapped(bounded, weight, chosen)
        if _mean(losses, weight, chosen) <= loss + 1e-15:
            break
    return chosen


def _swapped(losses: Floats, weight: Floats, chosen: list[int]) -> list[int]:
    """Single swaps as long as one helps."""
    value = _mean(losses, weight, chosen)
    improved = True
    while improved:
        improved = False
        for place in range(len(chosen)):
            others = chosen[:place] + chosen[place + 1 :]
            held = losses[:, others].min(1) if others else np.full(len(losses), np.inf)
            values = np.minimum(held[:, None], losses).T @ weight / weight.sum()
            values[others] = np.inf
            best = int(values.argmin())
            if values[best] < value - 1e-15:
                chosen, value, improved = [*others, best], float(values[best]), True
    return chosen


def _smaller(losses: Floats, weight: Floats, loss: float, size: int) -> tuple[tuple[int, ...] | None, bool]:
    """A smaller set that keeps the loss, if there is one; and whether all smaller ones were tried."""
    m, v = losses.shape
    found: tuple[int, ...] | None = None
    for k in range(size - 1, 0, -1):  # a set that keeps the loss keeps it with one more: no gap is skipped
        if comb(v, k) * m * k > EXACT:
            return found, False
        best = _best_of_size(losses, weight, k)
        if best is None or _mean(losses, weight, list(best)) > loss + 1e-15:
            return found, True
        found = best
    return found, True


def _best_of_size(losses: Floats, weight: Floats, k: int) -> tuple[int, ...] | None:
    best, least = None, np.inf
    sets = combinations(range(losses.shape[1]), k)
    columns = np.ascontiguousarray(losses.T)
    while block := list(islice(sets, BLOCK)):
        held = columns[[s[0] for s in block]]
        for i in range(1, k):
            held = np.minimum(held, columns[[s[i] for s in block]])
        values = held @ weight
        place = int(values.argmin())
        if values[place] < least:
            best, least = block[place], float(values[place])
    return best
