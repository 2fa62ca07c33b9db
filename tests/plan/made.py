# SPDX-License-Identifier: Apache-2.0
"""Small problems whose answers are known."""

import numpy as np

from edgeshift.plan.problem import Cost, Parts, Problem
from edgeshift.plan.spaces.layers import Layers

GAINS = (np.array([0.0, -1.0, -3.0]), np.array([0.0, -0.5, -4.0]), np.array([0.0, -2.0, -2.5]))
TIMES = (np.array([5.0, 3.0, 2.0]), np.array([4.0, 3.0, 1.0]), np.array([6.0, 3.0, 1.0]))
BYTES = (np.array([10.0, 6.0, 5.0]), np.array([8.0, 8.0, 2.0]), np.array([9.0, 3.0, 3.0]))
SPACE = Layers(("a", "b", "c"), (("dense", "half", "few"),))


def problem(time: float = np.inf, size: float = np.inf) -> Problem:
    """Three layers of three options: gain 90 less what pruning costs; 1 ms and 4 bytes stay whatever is chosen."""
    parts = Parts(GAINS, (TIMES, BYTES), (90.0, 1.0, 4.0))
    costs = (
        Cost("latency", lambda designs: parts.cost(0, designs), time),
        Cost("size", lambda designs: parts.cost(1, designs), size),
    )
    return Problem(SPACE, parts.gain, costs, parts)
