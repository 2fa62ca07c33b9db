# SPDX-License-Identifier: Apache-2.0
"""How a shrunk model differs in shape from its class, as JSON: the model is rebuilt without pickle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeshift.core.errors import BadValue, BadWeights

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1


@dataclass(frozen=True)
class ShapePlan:
    """What to change on a freshly built model before its weights fit.

    Attributes:
        shapes: Parameter or buffer name -> its shape after shrinking; only those that changed or came new.
        attributes: Module name -> attribute -> JSON value, such as `{"conv1": {"out_channels": 12}}`.
        stand_ins: Modules replaced by one of `core.stand_ins`, since torch's own cannot hold the sizes.
    """

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stand_ins: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON types, with the format version."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        attributes = {name: dict(values) for name, values in self.attributes.items()}
        return {
            "format": FORMAT,
            "shapes": shapes,
            "attributes": attributes,
            "stand_ins": list(self.stand_ins),
        }

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "ShapePlan":
        """The plan that `to_json` wrote.

        Raises:
            BadValue: If it is of another format or misses a field.
        """
        try:
            if raw.get("format") != FORMAT:
                raise BadValue("format of the shape plan", raw.get("format"), str(FORMAT))
            shapes = {n: tuple(s) for n, s in raw["shapes"].items()}
            return ShapePlan(shapes, dict(raw["attributes"]), tuple(raw["stand_ins"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise BadValue("shape plan", str(error), "a record with shapes and attributes") from error


def prepare_(model: "nn.Module", plan: ShapePlan) -> None:
    """Put the plan's stand-ins in place, so that the model has the names of all tensors.

    Raises:
        BadWeights: If a module is not there, or is none that can be replaced.
    """
    if plan.stand_ins:
        from edgeshift.core.stand_ins import stand_in_

        for name in plan.stand_ins:
            stand_in_(model, name)


def resize_(model: "nn.Module", plan: ShapePlan, tensors: Mapping[str, "Tensor"]) -> "nn.Module":
    """Give a model the plan's shapes and the tensors' values, in place.

    Args:
        model: Built by the same factory as the model the plan was made from.
        plan: Shapes and attributes that differ from the class.
        tensors: Parameter or buffer name -> value, for every name in `plan.shapes`; more are taken too.

    Returns:
        The same object.

    Raises:
        BadWeights: If the model has no such module, or a tensor has another shape than the plan says.
    """
    from torch import nn

    prepare_(model, plan)
    for name, attributes in plan.attributes.items():
        try:
            module = model.get_submodule(name)
        except AttributeError as error:
            raise BadWeights(f"shape plan must fit the model, got module {name!r} that it lacks") from error
        for attribute, value in attributes.items():
            setattr(module, attribute, tuple(value) if isinstance(value, list) else value)
    for name, shape in plan.shapes.items():
        if name not in tensors or tuple(tensors[name].shape) != tuple(shape):
            got = tuple(tensors[name].shape) if name in tensors else "none"
            raise BadWeights(f"tensor {name} must have shape {tuple(shape)} as in the shape plan, got {got}")
    placed: dict[int, Any] = {}
    for name, tensor in tensors.items():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        old = module._parameters.get(leaf, module._buffers.get(leaf))
        if leaf in module._buffers:
            module._buffers[leaf] = tensor
        elif old is not None and id(old) in placed:  # a shared parameter stays shared
            setattr(module, leaf, placed[id(old)])
        else:
            requires_grad = old.requires_grad if old is not None else True
            fresh = (
                tensor
                if isinstance(tensor, nn.Parameter)
                else nn.Parameter(tensor, requires_grad=requires_grad)
            )
            setattr(module, leaf, fresh)  # not `_parameters[leaf]`: recurrent layers keep a second list
            if old is not None:
                placed[id(old)] = fresh
    return model
