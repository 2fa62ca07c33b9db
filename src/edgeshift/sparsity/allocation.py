# SPDX-License-Identifier: Apache-2.0
"""How much each layer keeps: shares by shape, whole counts that add up, and the best choice under a budget."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from edgeshift.core.errors import BadValue

# Units that a budget is divided into where costs are no whole numbers: a choice is off by less than
# (number of groups) / UNITS of the budget.
UNITS = 20_000


def uniform(shapes: Mapping[str, tuple[int, ...]], keep: float) -> dict[str, float]:
    """The same share of every layer."""
    return dict.fromkeys(shapes, keep)


def erk(shapes: Mapping[str, tuple[int, ...]], keep: float) -> dict[str, float]:
    """Shares in proportion to the sum of a layer's sizes over their product, so that small layers stay dense.

    Erdos-Renyi-Kernel: Evci et al., ICML 2020 (https://arxiv.org/abs/1911.11134). A layer whose share would
    pass 1 is kept whole and the rest is solved again.

    Args:
        shapes: Layer -> shape of its weight.
        keep: Kept fraction of all weights together, 0..1.

    Returns:
        Layer -> kept fraction, 0..1; weighted by size they make `keep`.

    Raises:
        BadValue: If `keep` is out of range.
    """
    if not 0 <= keep <= 1:
        raise BadValue("keep", keep, "0 to 1")
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    whole: set[str] = set()
    while True:
        left = keep * sum(sizes.values()) - sum(sizes[name] for name in whole)
        total = sum(raw[name] * sizes[name] for name in shapes if name not in whole)
        scale = left / total if total else 0.0
        over = {name for name in shapes if name not in whole and scale * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in whole else max(0.0, scale * raw[name]) for name in shapes}
        whole |= over


def counts(
    sizes: Mapping[str, int], shares: Mapping[str, float], total: int, least: int = 0
) -> dict[str, int]:
    """Whole counts near `share * size` that add up to `total` exactly.

    Args:
        sizes: Layer -> elements it has.
        shares: Layer -> wanted fraction, 0..1.
        total: Sum of all counts.
        least: Kept of every layer at least.

    Raises:
        BadValue: If `total` cannot be reached between `least` of each and all.
    """
    low = sum(min(least, size) for size in sizes.values())
    if not low <= total <= sum(sizes.values()):
        raise BadValue("total", total, f"{low} to {sum(sizes.values())}")
    wanted = {name: shares[name] * size for name, size in sizes.items()}
    found = {n: min(size, max(min(least, size), math.floor(wanted[n]))) for n, size in sizes.items()}
    while (missing := total - sum(found.values())) != 0:
        sign = 1 if missing > 0 else -1
        free = [n for n in sizes if (found[n] < sizes[n] if sign > 0 else found[n] > min(least, sizes[n]))]
        # Furthest from what was wanted first; equal ones by position.
        free.sort(key=lambda n: sign * (found[n] - wanted[n]))
        for name in free[: abs(missing)]:
            found[name] += sign
    return found


def knapsack(values: Sequence[Sequence[float]], costs: Sequence[Sequence[float]], budget: float) -> list[int]:
    """One option of every group, of the highest total value whose total cost fits the budget.

    Multiple-choice knapsack by dynamic programming over the budget. Whole costs and a whole budget of at most
    `UNITS` are solved exactly; others are rounded up to `budget / UNITS`, so that the budget holds.

    Args:
        values: Group -> option -> value.
        costs: Group -> option -> cost, 0 or more.
        budget: Total cost at most.

    Returns:
        For each group the index of its option; of equally good choices the cheaper one.

    Raises:
        BadValue: If even the cheapest options do not fit.
    """
    least = sum(min(options) for options in costs)
    if least > budget:
        raise BadValue("budget", budget, f"at least {least:.6g}, what the cheapest options cost")
    whole = budget <= UNITS and all(float(c).is_integer() for options in costs for c in options)
    unit = 1.0 if whole or budget == 0 else budget / UNITS
    room = math.floor(budget / unit + 1e-9)
    sizes = [[math.ceil(c / unit - 1e-9) for c in options] for options in costs]
    if sum(min(options) for options in sizes) > room:  # rounding up took what the cheapest need
        return [int(np.argmin(options)) for options in costs]
    # best[b]: highest value at cost exactly b or less.
    best = np.zeros(room + 1)
    picks = []
    for worth, size in zip(values, sizes, strict=True):
        after = np.full(room + 1, -np.inf)
        pick = np.zeros(room + 1, np.int64)
        for option in sorted(range(len(size)), key=lambda k: size[k]):
            if size[option] > room:
                continue
            shifted = np.full(room + 1, -np.inf)
            shifted[size[option] :] = best[: room + 1 - size[option]] + worth[option]
            better = shifted > after
            after[better], pick[better] = shifted[better], option
        best = after
        picks.append(pick)
    at = int(np.argmax(best))  # the first of equals: the cheapest
    chosen = []
    for pick, size in zip(reversed(picks), reversed(sizes), strict=True):
        chosen.append(int(pick[at]))
        at -= size[chosen[-1]]
    return chosen[::-1]
