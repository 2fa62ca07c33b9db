# SPDX-License-Identifier: Apache-2.0
"""Parts of several architectures."""

import pytest
import torch
from torch import nn

from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalAverage, GlobalMax, SameConv2d, image_shape, kaiming_, same_sides


# By TensorFlow's rule: outputs = ceil(size / stride), zeros = (outputs - 1) * stride + kernel - size.
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "sides"),
    [
        (32, 3, 1, (1, 1)),
        (32, 3, 2, (0, 1)),
        (17, 3, 2, (1, 1)),
        (49, 10, 2, (4, 5)),
        (10, 4, 2, (1, 1)),
        (32, 1, 2, (0, 0)),
        (1, 3, 2, (1, 1)),
    ],
)
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int, sides: tuple[int, int]) -> None:
    assert same_sides(size, kernel, stride) == sides


def test_a_same_convolution_pads_after_when_it_strides() -> None:
    conv = SameConv2d(1, 1, (1, 3), 2, bias=False)
    nn.init.ones_(conv.weight)
    x = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
    assert conv(x).flatten().tolist() == [6.0, 7.0]


def test_global_pools_give_one_number_per_channel() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-1.0, -2.0], [-3.0, -6.0]]]])
    assert GlobalAverage()(x).tolist() == [[3.0, -3.0]]
    assert GlobalMax()(x).tolist() == [[6.0, -1.0]]


def test_fresh_convolutions_have_zero_bias_and_the_papers_variance() -> None:
    conv = nn.Conv2d(64, 128, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kaiming_(conv)
    assert conv.bias is not None
    assert not conv.bias.any()
    # 2 / (9 * 128); 73,728 draws put the estimate within 3 %.
    assert conv.weight.var().item() == pytest.approx(2 / (9 * 128), rel=0.03)


@pytest.mark.parametrize("shape", [(3,), (3, 32), (0, 8, 8), (3, 4, 8)])
def test_a_shape_that_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        BadValue, match=r"input_shape must be \(channels, height, width\) with sides from 5, got"
    ):
        image_shape(shape, smallest=5)
