# SPDX-License-Identifier: Apache-2.0
import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgeshift.core.errors import BadValue, BadWeights
from edgeshift.core.shape_plan import ShapePlan, resize_

names = st.text(min_size=1)
shapes = st.dictionaries(names, st.lists(st.integers(0, 9), max_size=4).map(tuple))
attributes = st.dictionaries(
    names, st.dictionaries(names, st.integers() | st.lists(st.integers()) | st.booleans())
)


class Tied(nn.Module):
    """Two layers that share one weight, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4, bias=False)
        self.b = nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.norm(self.b(self.a(x)))
        return out


PAIR_PLAN = ShapePlan(
    {"0.weight": (2, 1, 3, 3), "0.bias": (2,), "1.weight": (3, 2, 1, 1)},
    {"0": {"out_channels": 2}, "1": {"in_channels": 2}},
)


def pair() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 1))


def pair_tensors(**change: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    full = {name: torch.randn(shape) for name, shape in PAIR_PLAN.shapes.items()}
    return {**full, **change}


@given(shapes=shapes, attributes=attributes)
def test_a_plan_goes_through_json(
    shapes: dict[str, tuple[int, ...]], attributes: dict[str, dict[str, Any]]
) -> None:
    plan = ShapePlan(shapes, attributes)
    assert ShapePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_format_is_refused(version: object) -> None:
    with pytest.raises(BadValue, match="format of the shape plan must be 1, got "):
        ShapePlan.from_json({"format": version, "shapes": {}, "attributes": {}})


@pytest.mark.parametrize(
    "raw", [{"format": 1}, {"format": 1, "shapes": []}, {"format": 1, "shapes": {"w": None}}, []]
)
def test_a_plan_that_misses_a_part_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(BadValue, match="shape plan must be a record with shapes and attributes, got"):
        ShapePlan.from_json(raw)


def test_an_empty_plan_changes_nothing() -> None:
    model = pair()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    resize_(model, ShapePlan(), {})
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_resized_layers_compute_with_the_given_tensors() -> None:
    tensors = pair_tensors()
    model = resize_(pair(), PAIR_PLAN, tensors)
    x = torch.randn(2, 1, 5, 5)
    by_hand = nn.functional.conv2d(x, tensors["0.weight"], tensors["0.bias"])
    by_hand = nn.functional.conv2d(by_hand, tensors["1.weight"], model[1].bias)
    assert torch.equal(model(x), by_hand)


def test_attributes_follow_the_plan() -> None:
    model = resize_(pair(), PAIR_PLAN, pair_tensors())
    assert (model[0].out_channels, model[1].in_channels) == (2, 2)


def test_a_list_becomes_a_tuple_attribute() -> None:
    model = resize_(nn.Sequential(nn.LayerNorm(4)), ShapePlan({}, {"0": {"normalized_shape": [2]}}), {})
    assert model[0].normalized_shape == (2,)


def test_parameters_stay_parameters_and_keep_requires_grad() -> None:
    model = pair()
    model[0].weight.requires_grad_(False)
    resize_(model, PAIR_PLAN, pair_tensors())
    assert [n for n, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert not model[0].weight.requires_grad
    assert model[1].weight.requires_grad


def test_shared_parameters_stay_shared() -> None:
    weight = torch.randn(2, 2)
    plan = ShapePlan({"a.weight": (2, 2), "b.weight": (2, 2)})
    model = resize_(Tied(), plan, {"a.weight": weight, "b.weight": weight.clone()})
    assert model.a.weight is model.b.weight
    assert torch.equal(model.a.weight, weight)


def test_buffers_are_replaced_and_stay_buffers() -> None:
    plan = ShapePlan({"norm.running_mean": (2,)})
    model = resize_(Tied(), plan, {"norm.running_mean": torch.ones(2)})
    assert torch.equal(dict(model.named_buffers())["norm.running_mean"], torch.ones(2))


def test_the_state_comes_back_bit_equal() -> None:
    tensors = pair_tensors()
    state = resize_(pair(), PAIR_PLAN, tensors).state_dict()
    assert all(torch.equal(state[k], v) for k, v in tensors.items())


def test_a_module_that_is_missing_is_named() -> None:
    with pytest.raises(BadWeights, match="shape plan must fit the model, got module 'head' that it lacks"):
        resize_(pair(), ShapePlan({}, {"head": {"in_features": 1}}), {})


def test_a_tensor_of_another_shape_is_named_with_both_shapes() -> None:
    message = r"tensor 0\.bias must have shape \(2,\) as in the shape plan, got \(3,\)"
    with pytest.raises(BadWeights, match=message):
        resize_(pair(), PAIR_PLAN, pair_tensors(**{"0.bias": torch.zeros(3)}))


def test_a_missing_tensor_is_named() -> None:
    tensors = pair_tensors()
    del tensors["0.bias"]
    with pytest.raises(
        BadWeights, match=r"tensor 0\.bias must have shape \(2,\) as in the shape plan, got none"
    ):
        resize_(pair(), PAIR_PLAN, tensors)
