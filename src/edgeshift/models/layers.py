# SPDX-License-Identifier: Apache-2.0
"""What several architectures of the zoo are made of."""

import torch.nn.functional as F
from torch import Tensor, nn

from edgeshift.core.errors import BadValue


def image_shape(input_shape: tuple[int, ...], smallest: int = 1) -> tuple[int, int, int]:
    """`(channels, height, width)` of an image input.

    Raises:
        BadValue: If it is no image, or a side is under `smallest` pixels.
    """
    want = f"(channels, height, width) with sides from {smallest}"
    if len(input_shape) != 3:
        raise BadValue("input_shape", input_shape, want)
    channels, height, width = input_shape
    if channels < 1 or min(height, width) < smallest:
        raise BadValue("input_shape", input_shape, want)
    return channels, height, width


def kaiming_(model: nn.Module) -> nn.Module:
    """Fresh convolution weights that keep the variance through ReLUs, biases zero; in place.

    He et al., ICCV 2015 (https://arxiv.org/abs/1502.01852), in its fan-out form. Other layers keep
    torch's own start.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def same_sides(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis in TensorFlow's "same" padding: the odd one goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, which depends on the input size when it strides."""

    def forward(self, input: Tensor) -> Tensor:
        """`(batch, in, height, width)` to `(batch, out, ceil(height / stride), ceil(width / stride))`."""
        top, bottom = same_sides(input.shape[2], self.kernel_size[0], self.stride[0])
        left, right = same_sides(input.shape[3], self.kernel_size[1], self.stride[1])
        return super().forward(F.pad(input, (left, right, top, bottom)))


class GlobalAverage(nn.Module):
    """Mean over height and width, `(batch, channels, height, width)` to `(batch, channels)`."""

    def forward(self, x: Tensor) -> Tensor:
        """One number per channel."""
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


class GlobalMax(nn.Module):
    """Maximum over height and width, `(batch, channels, height, width)` to `(batch, channels)`."""

    def forward(self, x: Tensor) -> Tensor:
        """One number per channel."""
        return x.amax((2, 3))
