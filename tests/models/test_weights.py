# SPDX-License-Identifier: Apache-2.0
"""Weights from a file into a model."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgeshift.core.errors import BadWeights, NotFinite, UnknownName
from edgeshift.models import load_weights


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: t.clone() if not t.is_floating_point() else torch.rand(t.shape, generator=generator)
        for name, t in net().state_dict().items()
    }


def file(folder: Path, values: dict[str, Tensor]) -> Path:
    save_file(values, folder / "w.safetensors")
    return folder / "w.safetensors"


def test_every_tensor_is_taken(tmp_path: Path) -> None:
    model, values = net(), tensors()
    load_weights(model, file(tmp_path, values))
    assert all(torch.equal(t, values[name]) for name, t in model.state_dict().items())


def test_a_path_may_be_text(tmp_path: Path) -> None:
    model, values = net(), tensors()
    load_weights(model, str(file(tmp_path, values)))
    assert torch.equal(model[0].weight, values["0.weight"])


def test_the_counter_of_batch_norm_may_be_absent(tmp_path: Path) -> None:
    values = tensors()
    del values["1.num_batches_tracked"]
    load_weights(net(), file(tmp_path, values))


def test_half_precision_is_widened(tmp_path: Path) -> None:
    model, values = net(), {n: t.half() if t.is_floating_point() else t for n, t in tensors().items()}
    load_weights(model, file(tmp_path, values))
    assert torch.equal(model[0].weight, values["0.weight"].float())


def test_quantised_weights_become_floats(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    values = {
        "weight_q": torch.tensor([[0, 255], [128, 130]], dtype=torch.uint8),
        "weight_zero": torch.tensor([128], dtype=torch.int32),
        "weight_scale": torch.tensor([0.5]),
        "bias": torch.zeros(2),
    }
    load_weights(model, file(tmp_path, values))
    assert model.weight.tolist() == [[-64.0, 63.5], [0.0, 1.0]]


def test_a_shared_parameter_needs_one_of_its_names(tmp_path: Path) -> None:
    model = Tied()
    load_weights(model, file(tmp_path, {"second.weight": torch.eye(3)}))
    assert torch.equal(model.first.weight, torch.eye(3))
    assert model.first.weight is model.second.weight


def test_the_first_wrong_shape_is_named_with_both(tmp_path: Path) -> None:
    values = tensors()
    values["0.bias"], values["1.weight"] = torch.zeros(5), torch.zeros(6)
    with pytest.raises(BadWeights, match=r"tensor 0.bias must have shape \(4,\) as in the model, got \(5,\)"):
        load_weights(net(), file(tmp_path, values))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    values = tensors()
    del values["0.weight"]
    with pytest.raises(BadWeights, match=r"tensor 0.weight must have shape \(4, 3, 3, 3\) .*, got none"):
        load_weights(net(), file(tmp_path, values))


def test_an_unknown_tensor_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BadWeights, match=r"tensor fc.weight must have a place in the model, got shape \(2, 4\)"
    ):
        load_weights(net(), file(tmp_path, {**tensors(), "fc.weight": torch.zeros(2, 4)}))


def test_integers_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"tensor 0.bias must be of kind torch.float32, got torch.int8"):
        load_weights(net(), file(tmp_path, {**tensors(), "0.bias": torch.zeros(4, dtype=torch.int8)}))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_weight_that_is_not_finite_is_refused(tmp_path: Path, value: str) -> None:
    values = tensors()
    values["1.running_var"][2] = float(value)
    with pytest.raises(NotFinite, match=f"tensor 1.running_var must be finite, got {value}"):
        load_weights(net(), file(tmp_path, values))


def test_a_model_that_got_an_error_is_untouched(tmp_path: Path) -> None:
    model, values = net(), tensors()
    before = model[0].weight.clone()
    values["1.running_var"][2] = float("nan")
    with pytest.raises(NotFinite):
        load_weights(model, file(tmp_path, values))
    assert torch.equal(model[0].weight, before)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "w.pt")
    with pytest.raises(BadWeights, match=r"weights must be a safetensors file, got .*w.pt"):
        load_weights(net(), tmp_path / "w.pt")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, tensors())
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BadWeights, match="weights must be a safetensors file, got"):
        load_weights(net(), path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"got .*none.safetensors, which does not exist"):
        load_weights(net(), tmp_path / "none.safetensors")


def test_a_name_that_is_no_network_gets_the_nearest() -> None:
    with pytest.raises(
        UnknownName, match="no pretrained network named 'cifar10_resnet2'; did you mean 'cifar10_"
    ):
        load_weights(net(), "cifar10_resnet2")
