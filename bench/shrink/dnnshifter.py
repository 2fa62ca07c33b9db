# SPDX-License-Identifier: Apache-2.0
"""What DNNShifter (arXiv 2309.06973) does to a sparse model, written from its description; for comparison only.

VGG: batch norm is fused, filters whose fused weights are all zero go with the inputs that read them, planned
once; the constant that such a filter puts out goes with it, unpropagated. Weights are cut by `numpy.delete`,
whose result is not contiguous, and used as they come.
ResNet-50: no fusion; the stem and the first two convolutions of a block, filters whose weights are all zero;
never in the first convolution of the last stage's second and third block; a layer that is wholly zero is kept.
"""

from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeshift.graph.surgery import copy_module

Floats = NDArray[np.float32]
UNTOUCHED = ("layer4.1.conv1", "layer4.2.conv1")


def shrunk_vgg(model: nn.Module) -> nn.Module:
    """A sequence of convolutions with bias, without batch norm and without filters of zeros.

    Args:
        model: A sequence in which batch norm follows every convolution; not changed.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    gone: list[int] | None = None  # of the layer before; None where there is none
    children = list(copy_module(model).named_children())
    for place, (name, layer) in enumerate(children):
        if isinstance(layer, nn.Conv2d):
            norm = children[place + 1][1]
            assert isinstance(norm, nn.BatchNorm2d)
            weight, bias = fused(layer, norm)
            dead = np.flatnonzero(~weight.reshape(len(weight), -1).any(1)).tolist()
            weight, bias = np.delete(weight, dead, 0), np.delete(bias, dead)
            if gone is not None:
                weight = np.delete(weight, gone, 1)
            cut = nn.Conv2d(weight.shape[1], len(weight), layer.kernel_size, layer.stride, layer.padding)
            layers[name], gone = holding(cut, weight, bias), dead
        elif isinstance(layer, nn.Linear):
            weight = np.delete(layer.weight.detach().numpy(), gone or [], 1)
            cut_fc = nn.Linear(weight.shape[1], len(weight))
            layers[name] = holding(cut_fc, weight, layer.bias.detach().numpy())
        elif not isinstance(layer, nn.BatchNorm2d):
            layers[name] = layer
    return nn.Sequential(layers).eval()


def fused(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Floats, Floats]:
    """Weight and bias of a convolution that does its batch norm as well."""
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = norm.bias - norm.running_mean * scale
        if conv.bias is not None:
            bias = bias + conv.bias * scale
        return (conv.weight * scale.view(-1, 1, 1, 1)).numpy(), bias.numpy()


def holding(layer: nn.Module, weight: Floats, bias: Floats) -> nn.Module:
    """The layer with these numbers, in the memory order they come in."""
    layer.weight = nn.Parameter(torch.from_numpy(weight))
    layer.bias = nn.Parameter(torch.from_numpy(bias))
    return layer


def shrunk_resnet(model: nn.Module) -> nn.Module:
    """A ResNet-50 of `bench.networks` without the zero filters that the rule reaches.

    Args:
        model: Not changed.
    """
    small = copy_module(model).eval()
    first = small.get_submodule("layer1.0")
    readers = [first.get_submodule("conv1"), first.get_submodule("downsample.0")]
    chains = [("conv1", small.get_submodule("bn1"), readers)]
    for name, module in small.named_modules():
        if name.count(".") == 1 and hasattr(module, "conv3"):
            chains += [
                (f"{name}.conv1", module.get_submodule("bn1"), [module.get_submodule("conv2")]),
                (f"{name}.conv2", module.get_submodule("bn2"), [module.get_submodule("conv3")]),
            ]
    plan = {name: small.get_submodule(name).weight.detach().flatten(1).any(1) for name, _, _ in chains}
    for name, norm, reading in chains:
        stays = plan[name]
        if name not in UNTOUCHED and stays.any() and not stays.all():
            cut_(small.get_submodule(name), norm, reading, stays.nonzero().flatten())
    return small


def cut_(conv: nn.Module, norm: nn.Module, readers: list[nn.Module], stays: Tensor) -> None:
    """Keep some filters of a convolution, with their norm and the inputs that read them."""
    with torch.no_grad():
        conv.weight = nn.Parameter(conv.weight[stays])
        for key in ("weight", "bias"):
            setattr(norm, key, nn.Parameter(getattr(norm, key)[stays]))
        for key in ("running_mean", "running_var"):
            setattr(norm, key, getattr(norm, key)[stays])
        for reader in readers:
            reader.weight = nn.Parameter(reader.weight[:, stays])
            reader.in_channels = len(stays)
    conv.out_channels = norm.num_features = len(stays)


def contiguous(model: nn.Module) -> nn.Module:
    """A copy with every weight in C order."""
    copied = copy_module(model)
    for parameter in copied.parameters():
        parameter.data = parameter.data.contiguous()
    return copied
