# SPDX-License-Identifier: Apache-2.0
"""What all architectures promise."""

import pytest
import torch
from torch import nn

from edgeshift import models
from edgeshift.core.errors import BadValue
from edgeshift.models import ZOO

NAMES = ZOO.names()
PRESETS = sorted(models.presets())
# Rows that a network needs at least: one spends 29 of them without padding, the others read sound, row after
# row, and need 192 samples. All others take any side from 8.
SHORTEST = {"ds1d": 30, "silero_vad_wideband": 24, "silero_vad_narrowband": 24}
# A row of logits for every pixel, not one for the image.
DENSE = {"espnet_p2_q8", "espnet"}
# The deepest nets take seconds to trace and are made of the same parts as these.
TRACED = [
    "densenet40_12",
    "densenetbc_6_12_24",
    "mobilenetv2",
    "mobilenetv1_025",
    "mobilenetv2_folded",
    "mobilenetv2_imagenet",
    "dscnn",
    "ds1d",
    "espnet_p2_q8",
    "resnet20",
    "resnet20b",
    "resnet8",
    "silero_vad_wideband",
    "simpnet_300k",
    "squeezenet_bn",
    "vgg11_bn",
]


def shape_for(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    channels, height, width = shape
    return channels, max(height, SHORTEST.get(name, 1)), width


def answers(name: str, classes: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the logits for two images."""
    return 2, classes, *(shape[1:] if name in DENSE else ())


def net(name: str, classes: int, shape: tuple[int, ...]) -> tuple[nn.Module, torch.Tensor]:
    ref = models.resolve(name, classes=classes, input_shape=shape_for(name, shape))
    return models.build(ref).eval(), models.example(ref)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_called_like_its_family(name: str) -> None:
    presets = ZOO.find(name).presets
    assert presets
    assert all(preset.startswith(name) for preset in presets)


@pytest.mark.parametrize("name", NAMES)
def test_presets_read_from_source_are_those_of_the_class(name: str) -> None:
    read = {preset: options for preset, (family, options) in models.presets().items() if family == name}
    assert read == ZOO.find(name).presets


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_a_default(name: str) -> None:
    logits = ZOO.make(name).build(10, (3, 32, 32))(torch.zeros(2, 3, 32, 32))
    assert logits.shape == answers(name, 10, (3, 32, 32))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(("classes", "shape"), [(2, (1, 8, 8)), (7, (3, 17, 23))])
def test_any_input_size_and_number_of_classes(name: str, classes: int, shape: tuple[int, ...]) -> None:
    model, x = net(name, classes, shape)
    with torch.inference_mode():
        logits = model(x)
    assert (logits.shape, logits.dtype) == (answers(name, classes, shape), torch.float32)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", PRESETS)
def test_the_same_reference_gives_the_same_weights(name: str) -> None:
    first, second = (net(name, 3, (3, 32, 32))[0].state_dict() for _ in range(2))
    assert list(first) == list(second)
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("name", PRESETS)
def test_one_image_answers_as_in_a_batch(name: str) -> None:
    model, x = net(name, 3, (3, 32, 32))
    model, x = model.double(), x.double()
    with torch.inference_mode():
        whole, alone = model(x), model(x[1:])
    assert torch.allclose(whole[1:], alone, rtol=1e-9, atol=1e-9)  # float64: only the order of sums differs


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3,), (3, 32), (3, 0, 32), (1, 3, 32, 32)])
def test_an_input_that_is_no_image_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadValue, match="input_shape must be"):
        ZOO.make(name).build(10, shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACED)
def test_torch_export_traces_it_with_any_batch(name: str) -> None:
    ref = models.resolve(name, classes=4, input_shape=shape_for(name, (3, 16, 16)))
    model = models.build(ref).eval()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (models.example(ref),), dynamic_shapes=({0: batch},)).module()
    for count in (1, 5):
        x = models.example(ref, count)
        assert torch.equal(program(x), model(x))


@pytest.mark.parametrize("name", TRACED)
def test_gradients_reach_every_parameter(name: str) -> None:
    ref = models.resolve(name, classes=4, input_shape=shape_for(name, (3, 16, 16)))
    model = models.build(ref)
    model(models.example(ref, 4)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
