# SPDX-License-Identifier: Apache-2.0
"""The variants that no other beats in everything."""

from collections.abc import Sequence

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.values import Variant

# Objective -> what is better. Accuracy is that on validation: test accuracy must not choose.
OBJECTIVES = {
    "accuracy": "more",
    "file_size": "less",
    "latency": "less",
    "macs": "less",
    "parameters": "less",
    "peak_memory": "less",
    "sparsity": "more",
}
DEFAULT_OBJECTIVES = ("accuracy", "latency", "peak_memory")


def cost(variant: Variant, objective: str) -> float:
    """A number of which less is better.

    Raises:
        UnknownName: If there is no such objective.
        BadValue: If the variant lacks the figure.
    """
    if objective not in OBJECTIVES:
        raise UnknownName("objective", objective, OBJECTIVES)
    if objective == "accuracy":
        if "validation" not in variant.accuracy:
            raise BadValue(f"accuracy of {variant.name}", dict(variant.accuracy), "known on validation")
        value = variant.accuracy["validation"]
    elif objective in ("macs", "parameters", "sparsity"):
        value = float(getattr(variant, objective))
    else:
        value = variant.measured(objective).value
    return -value if OBJECTIVES[objective] == "more" else value


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether costs are nowhere more and somewhere less."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def front(variants: Sequence[Variant], objectives: Sequence[str] = DEFAULT_OBJECTIVES) -> tuple[Variant, ...]:
    """The variants that none of the others dominates, in their order.

    Args:
        variants: Candidates; equals keep each other on the front.
        objectives: Names from `OBJECTIVES`; measured ones count at batch size 1 on one thread.

    Raises:
        UnknownName: If there is no such objective.
        BadValue: If no objective is given, or a variant lacks a figure.
    """
    if not objectives:
        raise BadValue("objectives", tuple(objectives), "at least one")
    costs = [tuple(cost(v, o) for o in objectives) for v in variants]
    return tuple(
        v for v, mine in zip(variants, costs, strict=True) if not any(dominates(c, mine) for c in costs)
    )
