# SPDX-License-Identifier: Apache-2.0
"""From a model reference to a network."""

import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadValue
from edgeshift.core.seeds import seed_for
from edgeshift.core.values import ModelRef
from edgeshift.models.names import ZOO, recipe_of
from edgeshift.models.own import call_factory


def build(ref: ModelRef, *, seed: int = 0) -> nn.Module:
    """A network with fresh weights: equal reference and seed, equal weights.

    The caller's random state is left as it was. Pretrained names are built, not loaded: see `load_weights`.

    Raises:
        UnknownName: If nothing has the reference's name.
        BadValue: If an option or the input shape does not suit the network, or the user's factory fails.
    """
    ref.check()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "weights"))
        if ":" in ref.name:
            model = call_factory(ref.name, ref.classes, ref.options)
        else:
            architecture, chosen = recipe_of(ref.name)
            model = ZOO.make(architecture, **{**chosen, **ref.options}).build(ref.classes, ref.input_shape)
    if not isinstance(model, nn.Module):
        raise BadValue(ref.name, type(model).__name__, "a factory that returns a torch.nn.Module")
    return model


def example(ref: ModelRef, batch: int = 2, seed: int = 0) -> Tensor:
    """Random inputs for a model, `(batch, *input_shape)`, float32, standard normal."""
    generator = torch.Generator().manual_seed(seed_for(seed, "example"))
    return torch.randn(batch, *ref.input_shape, generator=generator)
