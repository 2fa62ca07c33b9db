# SPDX-License-Identifier: Apache-2.0
"""The model that every variant of a portfolio is shrunk from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from edgeshift.core.stand_ins import can_open
from edgeshift.core.values import ModelRef
from edgeshift.formats import Template, make_template
from edgeshift.graph import Shrunk, shrink, shrink_traced, trace
from edgeshift.graph.channels import ChannelGraph
from edgeshift.models import example


@dataclass(frozen=True)
class Parent:
    """Traced and exported once; holds the weights of the level in work.

    Attributes:
        model: In eval mode.
        graph: Its channel graph, on the same numbers.
        sample: Inputs it was traced with, `(2, *input_shape)`, float32.
        multiple: What widths are rounded up to with dead channels.
    """

    model: nn.Module
    graph: ChannelGraph
    sample: Tensor
    multiple: int

    @staticmethod
    def of(model: nn.Module, ref: ModelRef, multiple: int) -> "Parent":
        """The parent, traced.

        Raises:
            Untraceable: Naming the module and line that torch.export cannot see through.
        """
        sample = example(ref)
        return Parent(model.eval(), trace(model.eval(), (sample,)), sample, multiple)

    @cached_property
    def template(self) -> Template:
        """The ONNX graph that variants fill with their tensors; made when first asked for."""
        return make_template(self.model, self.sample)

    def shrunk(self, state: Mapping[str, Tensor]) -> Shrunk:
        """The parent with other weights, without its dead channels.

        Raises:
            NotExact: If the shrunk model computes something else.
        """
        self.model.load_state_dict(dict(state))
        if any(can_open(module) for module in self.model.modules()):
            # What goes from inside attention depends on the weights, and with it what is traced.
            return shrink(self.model, self.sample, multiple=self.multiple)
        return shrink_traced(self.model, self.graph, (self.sample,), multiple=self.multiple)
