# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from edgeshift.core.errors import BadValue
from edgeshift.train.masking import Masking


def step(model: nn.Module, optimizer: torch.optim.SGD, masking: Masking) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().sum().backward()
    masking.mask_gradients_()
    optimizer.step()


def setting() -> tuple[nn.Linear, torch.optim.SGD, Masking]:
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, 1.0)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=0.1)
    return model, optimizer, Masking(model)


HALF = torch.tensor([[True, False, True], [False, True, False]])


def test_removed_weights_are_zero_at_once() -> None:
    model, _, masking = setting()
    masking.set_({"weight": HALF})
    assert model.weight.tolist() == [[1, 0, 1], [0, 1, 0]]


def test_momentum_does_not_revive_them() -> None:
    model, optimizer, masking = setting()
    for _ in range(3):  # momentum of all weights
        step(model, optimizer, masking)
    masking.set_({"weight": HALF}, optimizer)
    for _ in range(5):
        step(model, optimizer, masking)
        assert not model.weight[~HALF].any()
        assert not optimizer.state[model.weight]["momentum_buffer"][~HALF].any()
        assert model.weight[HALF].all()


def test_what_comes_back_begins_at_zero_without_momentum() -> None:
    model, optimizer, masking = setting()
    masking.set_({"weight": HALF}, optimizer)
    step(model, optimizer, masking)
    masking.set_({"weight": torch.ones(2, 3, dtype=torch.bool)}, optimizer)
    assert not model.weight[~HALF].any()
    assert not optimizer.state[model.weight]["momentum_buffer"][~HALF].any()
    assert optimizer.state[model.weight]["momentum_buffer"][HALF].all()
    step(model, optimizer, masking)
    assert model.weight[~HALF].all()


def test_the_gradient_is_dense_until_it_is_masked() -> None:
    model, _, masking = setting()
    masking.set_({"weight": HALF})
    model(torch.ones(2, 3)).square().sum().backward()
    assert model.weight.grad.all()
    masking.mask_gradients_()
    assert model.weight.grad.bool().tolist() == HALF.tolist()


def test_the_dense_gradient_is_that_of_an_unmasked_twin() -> None:
    model, _, masking = setting()
    masking.set_({"weight": HALF})
    twin = nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    for network in (model, twin):
        network(torch.ones(2, 3)).square().sum().backward()
    assert torch.equal(model.weight.grad, twin.weight.grad)


def test_masks_are_copies_of_their_own() -> None:
    _, _, masking = setting()
    masking.set_({"weight": HALF})
    masks = masking.masks()
    assert (masks.kept, masks.total) == (3, 6)
    masks.tensors["weight"][:] = True
    assert masking.masks().kept == 3


def test_channels_last_weights_are_masked_in_place() -> None:
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    mask = torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    masking = Masking(model)
    masking.set_({"weight": mask})
    assert torch.equal(model.weight != 0, mask)
    assert (masking.masks().tensors["weight"] == mask.numpy()).all()


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        ({"wieght": HALF}, "mask must be of a parameter of the model, got 'wieght'"),
        (
            {"weight": HALF[:1]},
            r"mask of weight must be bool of shape \(2, 3\), got \(torch.bool, \(1, 3\)\)",
        ),
        ({"weight": HALF.float()}, r"mask of weight must be bool of shape \(2, 3\), got \(torch.float32"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks: dict[str, torch.Tensor], says: str) -> None:
    with pytest.raises(BadValue, match=says):
        setting()[2].set_(masks)
