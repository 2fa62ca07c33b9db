# SPDX-License-Identifier: Apache-2.0
"""A recorded variant as a network that can be trained further: its ONNX file, with its batch norms opened again."""

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from bench.record import RECORDS
from edgeshift.data import open_set
from edgeshift.models import build, resolve
from edgeshift.portfolio import Portfolio

# Training images that batch norms are opened with, and images at a time.
IMAGES, AT_ONCE = 10_000, 500


def vgg16_first_pass() -> nn.Module:
    """VGG-16 at 1 / 8.7 of its parameters: the smallest variant of `train_vgg16`."""
    return recorded("train_vgg16", "vgg16_bn")


def resnet56_half() -> nn.Module:
    """ResNet-56 at half its multiply-accumulates, of `train_resnets`."""
    return recorded("train_resnets/r56-soft-0.5", "cifar10_resnet56")


def resnet56_quarter() -> nn.Module:
    """ResNet-56 at a quarter of its multiply-accumulates, of `train_resnets`."""
    return recorded("train_resnets/r56-again-0", "cifar10_resnet56")


def recorded(claim: str, model: str) -> nn.Module:
    """The first variant kept beside a record; it computes what the file does, on inputs scaled as CIFAR-10 scales them.

    The file's batch norms are folded into convolutions. Here statistics of training images go in, and scales and
    shifts that undo them. Where the network scales inputs otherwise than the data set, its first convolution takes
    that over; only the border, padded with another colour then, differs.

    Args:
        claim: Folder under bench/records.
        model: Name of the network that the variant was cut from, without its streams.
    """
    ref, data = resolve(model, classes=10, input_shape=(3, 32, 32)), open_set("cifar10")
    network = build(ref)
    tensors = folded(RECORDS / claim / "portfolio")
    own = (ref.mean, ref.std) if ref.mean else (data.mean, data.std)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (data.mean, data.std))
    with torch.no_grad():
        refill_(network, tensors)
        first = next(n for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
        norm = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
        take_over_scaling_(network.get_submodule(first), norm, own, (data.mean, data.std))
        pixels = data.split("train").images[:IMAGES]
        images = [
            torch.from_numpy((pixels[k : k + AT_ONCE].astype(np.float32) / 255 - mean) / std)
            for k in range(0, len(pixels), AT_ONCE)
        ]
        open_norms_(network, images)
    return network.eval()


def folded(folder: Path) -> dict[str, Tensor]:
    """The tensors of a portfolio's first variant, by name in its ONNX file."""
    portfolio = Portfolio.open(folder)
    model = onnx.load_from_string(portfolio.read(portfolio.variants[0], "onnx"))
    return {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in model.graph.initializer}


def refill_(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put in convolutions and linear layers of the file's widths, and batch norms that only add a bias."""
    for name, module in list(network.named_modules()):
        parent, _, leaf = name.rpartition(".")
        fresh: nn.Module
        if isinstance(module, nn.Conv2d):
            weight = tensors[f"{name}.weight"]
            rows, columns = weight.shape[:2]
            fresh = nn.Conv2d(columns, rows, module.kernel_size, module.stride, module.padding, bias=False)
            fresh.weight.copy_(weight)
        elif isinstance(module, nn.BatchNorm2d):
            bias = tensors[f"{name}.bias"]
            fresh = nn.BatchNorm2d(len(bias))
            fresh.weight.fill_((1 + fresh.eps) ** 0.5)
            fresh.bias.copy_(bias)
        elif isinstance(module, nn.Linear):
            fresh = nn.Linear(*tensors[f"{name}.weight"].shape[::-1])
            fresh.load_state_dict({k: tensors[f"{name}.{k}"] for k in ("weight", "bias")})
        else:
            continue
        setattr(network.get_submodule(parent), leaf, fresh)


def take_over_scaling_(conv: nn.Module, norm: nn.Module, own: tuple, given: tuple) -> None:
    """Let the first convolution, and the norm behind it, compute from inputs scaled in another way.

    Args:
        conv: Of weights `(rows, colours, h, w)`.
        norm: Only adds a bias.
        own: Mean and standard deviation per colour that the weights were trained with.
        given: Those of the inputs from now on.
    """
    (mean, std), (new_mean, new_std) = (tuple(torch.tensor(v) for v in pair) for pair in (own, given))
    norm.bias += torch.einsum("rchw,c->r", conv.weight, (new_mean - mean) / std)
    conv.weight *= (new_std / std)[:, None, None]


def open_norms_(network: nn.Module, images: list[Tensor]) -> None:
    """Give batch norms that only add a bias the statistics of their inputs, and let them compute the same.

    Args:
        network: In eval mode afterwards.
        images: `[(n, C, H, W)]`, equally many each.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    sums = [torch.zeros(2, m.num_features, dtype=torch.float64) for m in norms]

    def add(total: Tensor, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        total += torch.stack([inputs[0].mean((0, 2, 3)), inputs[0].square().mean((0, 2, 3))]) / len(images)

    hooks = [m.register_forward_pre_hook(partial(add, s)) for m, s in zip(norms, sums, strict=True)]
    network.eval()
    for part in images:
        network(part)
    for hook in hooks:
        hook.remove()
    for norm, (mean, square) in zip(norms, sums, strict=True):
        norm.running_mean.copy_(mean)  # type: ignore[union-attr]  # there while it tracks
        norm.running_var.copy_(square - mean.square())  # type: ignore[union-attr]
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())  # type: ignore[operator]
        norm.bias += norm.running_mean
