# SPDX-License-Identifier: Apache-2.0
"""A variant of a nested file as a torch model."""

import json
from collections.abc import Callable

import torch
from torch import nn

from edgeshift.core.errors import BadPortfolio
from edgeshift.core.shape_plan import ShapePlan, prepare_, resize_
from edgeshift.formats.nested import Nested
from edgeshift.formats.weights import check_fit, tie_

PLAN = "plan"


def plan_name(variant: int) -> str:
    """Name of a variant's shape plan among the files of a nested file."""
    return f"{variant}.{PLAN}"


def nested_model(nested: Nested, name: str, factory: Callable[[], nn.Module]) -> nn.Module:
    """A variant of a nested file: the factory's class, resized, with the bits that were nested.

    Args:
        nested: The opened file.
        name: Of the variant.
        factory: Builds the model as it was before shrinking; its weights do not matter.

    Returns:
        In eval mode.

    Raises:
        BadPortfolio: If the file lacks the variant or its shape plan, or is damaged.
        BadWeights: If the tensors do not fit the factory's class.
    """
    variant = nested.index(name)
    if plan_name(variant) not in nested.files:
        raise BadPortfolio(
            f"{nested.path.name} must hold the shape plan of {name}, got {sorted(nested.files)}"
        )
    facts = json.loads(nested.files[plan_name(variant)])
    plan, tied = ShapePlan.from_json(facts["plan"]), facts["tied"]
    tensors = {n: torch.from_numpy(array) for n, array in nested.tensors(variant).items()}
    model = factory().eval()
    prepare_(model, plan)
    check_fit(model, plan, tensors, tied)
    resize_(model, plan, {**tensors, **{other: tensors[first] for other, first in tied.items()}})
    for other, first in tied.items():
        tie_(model, other, first)
    return model
