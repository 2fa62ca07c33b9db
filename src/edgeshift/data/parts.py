# SPDX-License-Identifier: Apache-2.0
"""Fixed splits, class by class."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadData, BadValue

Indices = NDArray[np.int64]


def stratified(
    labels: NDArray[np.int64], keys: Sequence[str], seed: int, validation: int, test: int
) -> dict[str, Indices]:
    """Every image in one split, each class in the same shares.

    An image's place hangs on its own key and class only, so it is the same on every machine and with every
    version of numpy, and files added to one class leave the others where they were.

    Args:
        labels: `(n,)`, int64.
        keys: What tells an image from all others, such as its path; n of them.
        seed: Another seed, another split.
        validation: Percent of each class, rounded down, at least one image if above 0.
        test: The same.

    Returns:
        Split name -> indices in rising order; splits of 0 percent are left out.

    Raises:
        BadData: If a class has fewer images than there are splits.
        BadValue: If the percentages leave no train split.
    """
    if min(validation, test) < 0 or validation + test >= 100:
        raise BadValue(
            "validation and test", (validation, test), "percentages from 0 that add up to under 100"
        )
    percent = {name: p for name, p in (("test", test), ("validation", validation)) if p}
    found: dict[str, list[Indices]] = {"train": [], **{name: [] for name in percent}}
    digests = [hashlib.sha256(f"{seed}/{key}".encode()).digest() for key in keys]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) <= len(percent):
            want = f"at least {len(percent) + 1} images, one for each split"
            raise BadData(f"class {label} must have {want}, got {len(members)}")
        order = np.array(sorted(members.tolist(), key=lambda i: digests[i]), dtype=np.int64)
        start = 0
        for name, share in percent.items():
            count = max(len(order) * share // 100, 1)
            found[name].append(order[start : start + count])
            start += count
        found["train"].append(order[start:])
    return {name: np.sort(np.concatenate(pieces)) for name, pieces in found.items() if pieces}
