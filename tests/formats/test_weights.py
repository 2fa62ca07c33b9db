# SPDX-License-Identifier: Apache-2.0
"""Models on disk without pickle."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadValue, BadWeights, NotFinite
from edgeshift.core.shape_plan import ShapePlan
from edgeshift.formats import load, read_tensors, save, tensor_bytes
from edgeshift.formats.weights import weight_bytes


class Toy(nn.Module):
    """A convolution, batch norm and a linear layer."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.bn(self.conv(x))).mean((2, 3)))


class Tied(nn.Module):
    """Two layers with one weight, under two names."""

    def __init__(self, *, shared: bool = True) -> None:
        super().__init__()
        self.one = nn.Linear(5, 5)
        self.two = nn.Linear(5, 5)
        if shared:
            self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)))


class Masked(nn.Module):
    """A buffer with infinities, as attention masks have, and one that is not part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        self.register_buffer("scale", torch.tensor([2.0, 3.0]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.fc(x) * self.scale + self.mask, 1)


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    source = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.normal_(generator=source)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5, generator=source)
    return model.eval()


def shrunk() -> tuple[Toy, ShapePlan]:
    """A model that is half as wide as its class, with a bias that came new, and its plan."""
    model = Toy(4)
    model.conv.bias = nn.Parameter(torch.zeros(4))
    shapes = {
        "conv.weight": (4, 3, 3, 3),
        "conv.bias": (4,),
        "bn.weight": (4,),
        "bn.bias": (4,),
        "bn.running_mean": (4,),
        "bn.running_var": (4,),
        "fc.weight": (4, 4),
    }
    attributes = {"conv": {"out_channels": 4}, "bn": {"num_features": 4}, "fc": {"in_features": 4}}
    return seeded(model), ShapePlan(shapes, attributes)


IMAGES = torch.randn(3, 3, 6, 5, generator=torch.Generator().manual_seed(1))


def test_outputs_are_bit_equal(tmp_path: Path) -> None:
    model = seeded(Toy())
    save(model, tmp_path / "m.safetensors")
    assert torch.equal(load(tmp_path / "m.safetensors", Toy)(IMAGES), model(IMAGES))


def test_outputs_of_a_shrunk_model_are_bit_equal(tmp_path: Path) -> None:
    model, plan = shrunk()
    save(model, tmp_path / "m.safetensors", plan)
    found = load(tmp_path / "m.safetensors", Toy)
    assert torch.equal(found(IMAGES), model(IMAGES))
    assert (found.conv.out_channels, found.bn.num_features, found.fc.in_features) == (4, 4, 4)


def test_a_model_that_brings_its_plan_is_saved_with_it(tmp_path: Path) -> None:
    model, plan = shrunk()
    save(SimpleNamespace(model=model, plan=plan), tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == weight_bytes(model, plan)


def test_a_loaded_model_can_be_saved_to_the_same_bytes(tmp_path: Path) -> None:
    model, plan = shrunk()
    save(model, tmp_path / "m.safetensors", plan)
    assert (
        weight_bytes(load(tmp_path / "m.safetensors", Toy), plan) == (tmp_path / "m.safetensors").read_bytes()
    )


def test_saving_does_not_change_the_model(tmp_path: Path) -> None:
    model = seeded(Toy())
    before = {n: t.clone() for n, t in model.state_dict().items()}
    save(model, tmp_path / "m.safetensors")
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_channels_last_weights_come_back(tmp_path: Path) -> None:
    model = seeded(Toy()).to(memory_format=torch.channels_last)
    save(model, tmp_path / "m.safetensors")
    assert torch.equal(load(tmp_path / "m.safetensors", Toy).conv.weight, model.conv.weight)


def test_half_precision_stays(tmp_path: Path) -> None:
    model = seeded(Toy()).to(torch.bfloat16)
    save(model, tmp_path / "m.safetensors")
    found = load(tmp_path / "m.safetensors", Toy)
    assert found.conv.weight.dtype == torch.bfloat16
    assert torch.equal(found(IMAGES.bfloat16()), model(IMAGES.bfloat16()))


def test_shared_parameters_are_stored_once_and_stay_shared(tmp_path: Path) -> None:
    model = seeded(Tied())
    save(model, tmp_path / "m.safetensors")
    found = load(tmp_path / "m.safetensors", Tied)
    assert "two.weight" not in read_tensors(tmp_path / "m.safetensors")[0]
    assert found.two.weight is found.one.weight
    x = torch.ones(2, 5)
    assert torch.equal(found(x), model(x))


def test_parameters_tied_after_building_are_tied_again(tmp_path: Path) -> None:
    model = seeded(Tied())
    save(model, tmp_path / "m.safetensors")
    found = load(tmp_path / "m.safetensors", lambda: Tied(shared=False))
    assert found.two.weight is found.one.weight


def test_a_module_used_under_two_names_stays_one(tmp_path: Path) -> None:
    def build() -> nn.Module:
        layer = nn.Linear(3, 3)
        return nn.Sequential(layer, nn.ReLU(), layer)

    model = seeded(build())
    save(model, tmp_path / "m.safetensors")
    found = load(tmp_path / "m.safetensors", build)
    assert found[0] is found[2]
    assert torch.equal(found(torch.ones(1, 3)), model(torch.ones(1, 3)))


def test_values_that_differ_cannot_go_into_one_shared_parameter(tmp_path: Path) -> None:
    save(seeded(Tied(shared=False)), tmp_path / "m.safetensors")
    with pytest.raises(BadWeights, match=r"two.weight must equal one.weight, which the model shares it with"):
        load(tmp_path / "m.safetensors", Tied)


def test_recurrent_layers_use_the_loaded_weights(tmp_path: Path) -> None:
    model = seeded(nn.GRU(3, 4, batch_first=True))
    save(model, tmp_path / "m.safetensors")
    found = load(tmp_path / "m.safetensors", lambda: nn.GRU(3, 4, batch_first=True))
    x = torch.ones(2, 5, 3)
    assert torch.equal(found(x)[0], model(x)[0])


def test_buffers_may_be_infinite_and_outside_the_state(tmp_path: Path) -> None:
    model = seeded(Masked())
    save(model, tmp_path / "m.safetensors")
    assert torch.equal(load(tmp_path / "m.safetensors", Masked)(torch.ones(1, 2)), model(torch.ones(1, 2)))


def test_a_plain_state_file_is_read(tmp_path: Path) -> None:
    model = seeded(Toy())
    safetensors.torch.save_file(model.state_dict(), tmp_path / "m.safetensors")
    assert torch.equal(load(tmp_path / "m.safetensors", Toy)(IMAGES), model(IMAGES))


def test_a_loaded_model_is_in_eval_mode(tmp_path: Path) -> None:
    save(Toy(), tmp_path / "m.safetensors")
    assert not load(tmp_path / "m.safetensors", Toy).training


def test_equal_models_give_equal_bytes() -> None:
    assert weight_bytes(seeded(Toy(), 3)) == weight_bytes(seeded(Toy(), 3))


def test_the_first_missing_tensor_is_named(tmp_path: Path) -> None:
    state = seeded(Toy()).state_dict()
    del state["bn.bias"], state["fc.weight"]
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(BadWeights, match=r"weights must have tensor bn.bias, got none of that name"):
        load(tmp_path / "m.safetensors", Toy)


def test_the_first_tensor_too_many_is_named(tmp_path: Path) -> None:
    state = seeded(Toy()).state_dict() | {"head.weight": torch.zeros(2)}
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(BadWeights, match=r"weights must fit the model, got tensor head.weight that it lacks"):
        load(tmp_path / "m.safetensors", Toy)


def test_both_shapes_are_named(tmp_path: Path) -> None:
    save(seeded(Toy(8)), tmp_path / "m.safetensors")
    message = r"tensor conv.weight must have shape \(6, 3, 3, 3\), got \(8, 3, 3, 3\)"
    with pytest.raises(BadWeights, match=message):
        load(tmp_path / "m.safetensors", lambda: Toy(6))


def test_a_plan_for_another_model_is_refused(tmp_path: Path) -> None:
    model, plan = shrunk()
    save(model, tmp_path / "m.safetensors", plan)
    with pytest.raises(BadWeights, match=r"got module 'conv' that it lacks|got tensor|must have tensor"):
        load(tmp_path / "m.safetensors", Tied)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_parameter_that_is_not_finite_is_named_when_saving(value: float, tmp_path: Path) -> None:
    model = seeded(Toy())
    model.fc.bias.data[1] = value
    with pytest.raises(NotFinite, match=r"tensor fc.bias must be finite, got NaN or infinity"):
        save(model, tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_that_is_not_finite_is_named_when_loading(tmp_path: Path) -> None:
    state = seeded(Toy()).state_dict()
    state["bn.running_mean"][0] = float("nan")
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(NotFinite, match=r"tensor bn.running_mean must be finite, got NaN or infinity"):
        load(tmp_path / "m.safetensors", Toy)


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(tensor_bytes({}, {"format": 2}))
    with pytest.raises(
        BadValue, match=r"format of m.safetensors must be 1; update edgeshift to read it, got 2"
    ):
        load(tmp_path / "m.safetensors", Toy)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save(Toy().state_dict(), tmp_path / "m.pt")
    with pytest.raises(BadWeights, match=r"m.pt must be a safetensors file, got"):
        load(tmp_path / "m.pt", Toy)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="tensor file must be an existing file, got"):
        load(tmp_path / "none.safetensors", Toy)


def test_a_plan_that_does_not_fit_the_model_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"shape of fc.bias must be \(3,\) as in the plan, got \(4,\)"):
        save(seeded(Toy()), tmp_path / "m.safetensors", ShapePlan({"fc.bias": (3,)}))
    with pytest.raises(BadValue, match=r"shape plan must be about tensors of the model, got 'gone.bias'"):
        save(seeded(Toy()), tmp_path / "m.safetensors", ShapePlan({"gone.bias": (3,)}))
