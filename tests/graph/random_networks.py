# SPDX-License-Identifier: Apache-2.0
"""Random small networks with random dead channels; every choice is drawn, so hypothesis can simplify it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Choose = Callable[[Sequence[Any]], Any]
WIDTHS = (4, 1, 2, 3, 5, 6, 7, 8, 12)
ACTIVATIONS = (
    "relu", "sigmoid", "tanh", "silu", "gelu", "hardswish", "leaky_relu", "elu", "softplus", "prelu",
    "hardtanh", "relu6", "mish", "hardsigmoid", "abs", "softsign", "celu", "selu", "logsigmoid", "tanhshrink",
)  # fmt: skip
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
GLOBAL_POOLS = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
LINEAR_UPSAMPLE = {1: "linear", 2: "bilinear", 3: "trilinear"}
DEATHS = (
    "none", "rows", "rows_bias", "columns", "cells", "cells_bias", "all", "all_bias", "one", "denormal",
)  # fmt: skip
MAX_POSITIONS = 600


class Gate(nn.Module):
    """Squeeze and excite: a factor per channel from the channels' means."""

    def __init__(self, rank: int, width: int, inner: int) -> None:
        super().__init__()
        self.pool = GLOBAL_POOLS[rank](1)
        self.down = CONVS[rank](width, inner, 1)
        self.up = CONVS[rank](inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.relu(self.down(self.pool(x)))))


class Scale(nn.Module):
    """A learned factor and offset per channel, in the user's own class."""

    def __init__(self, rank: int, width: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.randn(width, *[1] * rank))
        self.offset = nn.Parameter(torch.randn(1, width, *[1] * rank))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.offset


class ChannelsLast(nn.Module):
    """A layer over the last axis, applied to axis 1."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.movedim(1, -1)).movedim(-1, 1)


class Pick(nn.Module):
    """Channels at positions that a buffer names."""

    def __init__(self, order: list[int]) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor(order))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.order)


class Mix(nn.Module):
    """A linear layer over the channels, spelled as an einsum."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ncs,oc->nos", x.flatten(2), self.weight).unflatten(2, x.shape[2:])


@dataclass(frozen=True)
class Step:
    """One operator: what it does, which tensors it takes, which module it runs, its options."""

    kind: str
    takes: tuple[int, ...]
    module: int = -1
    options: tuple[Any, ...] = ()


class RandomNetwork(nn.Module):
    """Runs a list of steps; tensors are numbered in the order they are made."""

    def __init__(self, layers: list[nn.Module], steps: tuple[Step, ...], returns: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.steps = steps
        self.returns = returns

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        made = list(inputs)
        for step in self.steps:
            taken = [made[i] for i in step.takes]
            if step.module >= 0:
                made.append(self.layers[step.module](*taken))
            else:
                result = getattr(self, step.kind)(*taken, *step.options)
                made.extend(result if isinstance(result, tuple) else (result,))
        picked = tuple(made[i] for i in self.returns)
        return picked if len(picked) > 1 else picked[0]

    def extra_repr(self) -> str:
        return "\n".join([*(str(s) for s in self.steps), f"returns={self.returns}"])

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def sub(self, a: Tensor, b: Tensor) -> Tensor:
        return a - b

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def maximum(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b)

    def cat(self, *tensors: Tensor) -> Tensor:
        return torch.cat(tensors, 1)

    def chunk(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        return torch.chunk(x, parts, 1)

    def split(self, x: Tensor, size: int) -> tuple[Tensor, ...]:
        return torch.split(x, size, 1)

    def slice(self, x: Tensor, start: int, stop: int) -> Tensor:
        return x[:, start:stop]

    def flip(self, x: Tensor) -> Tensor:
        return x.flip(1)

    def shuffle(self, x: Tensor, groups: int) -> Tensor:
        n, c, *space = x.shape
        return x.reshape(n, groups, c // groups, *space).transpose(1, 2).reshape(n, c, *space)

    def select(self, x: Tensor, order: tuple[int, ...]) -> Tensor:
        return x[:, torch.tensor(order)]

    def repeat(self, x: Tensor, times: int) -> Tensor:
        return x.repeat(1, times, *[1] * (x.dim() - 2))

    def interleave(self, x: Tensor, times: int) -> Tensor:
        return x.repeat_interleave(times, 1)

    def slide(self, x: Tensor, axis: int) -> Tensor:
        return x.unfold(axis, 2, 1).amax(-1)

    def windows(self, x: Tensor, padding: int) -> Tensor:
        high, wide = x.shape[2] + 2 * padding - 1, x.shape[3] + 2 * padding
        return F.unfold(x, (2, 1), padding=padding).unflatten(2, (high, wide))

    def option_a(self, x: Tensor, low: int, high: int) -> Tensor:
        rank = x.dim() - 2
        return F.pad(
            x[(slice(None), slice(None), *[slice(None, None, 2)] * rank)], (0, 0) * rank + (low, high)
        )

    def pad_space(self, x: Tensor, mode: str, value: float | None) -> Tensor:
        return F.pad(x, (1, 1) * (x.dim() - 2), mode, value)

    def upsample(self, x: Tensor, mode: str) -> Tensor:
        if mode == "nearest":
            return F.interpolate(x, scale_factor=2, mode=mode)
        return F.interpolate(x, scale_factor=2, mode=mode, align_corners=False)

    def mean_space(self, x: Tensor) -> Tensor:
        return x.mean(tuple(range(2, x.dim())))

    def max_space(self, x: Tensor) -> Tensor:
        return x.flatten(2).amax(2)

    def over_channels(self, x: Tensor, name: str) -> Tensor:
        return getattr(x, name)(1, keepdim=True)

    def softmax(self, x: Tensor) -> Tensor:
        return x.softmax(1)

    def flatten(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def cumsum(self, x: Tensor, axis: int) -> Tensor:
        return x.cumsum(axis)

    def constant(self, x: Tensor, name: str, value: float) -> Tensor:
        return x + value if name == "add" else x * value


@dataclass
class Builder:
    """Draws a network step by step.

    Attributes:
        choose: Picks one of a sequence.
        rank: Spatial axes.
        shapes: Channel and spatial sizes of every tensor made, without the batch axis.
    """

    choose: Choose
    rank: int
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    layers: list[nn.Module] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def run_layer(self, x: int, layer: nn.Module, shape: tuple[int, ...]) -> None:
        self.layers.append(layer)
        self.steps.append(Step("layer", (x,), len(self.layers) - 1))
        self.shapes.append(shape)

    def run(
        self, kind: str, takes: tuple[int, ...], options: tuple[Any, ...], *shapes: tuple[int, ...]
    ) -> None:
        self.steps.append(Step(kind, takes, -1, options))
        self.shapes.extend(shapes)

    def divisor(self, *numbers: int) -> int:
        common = math.gcd(*numbers)
        return self.choose([d for d in range(1, common + 1) if common % d == 0])

    def step(self) -> None:
        """Add one step that fits; most of the time it takes the newest tensor."""
        x = self.choose((len(self.shapes) - 1,) * 3 + tuple(range(len(self.shapes))))
        shape = self.shapes[x]
        if len(shape) == 1:
            kinds = ("linear", "activation", "bn", "pair", "cat", "cut", "dead_end", "layer_norm")
        else:
            kinds = (
                "conv", "conv", "conv", "bn", "activation", "depthwise", "pair", "cat", "cut", "reuse",
                "pool", "transposed", "upsample", "gate", "scale", "norm", "pad_space", "option_a", "shuffle",
                "to_vector", "last", "over_channels", "dead_end", "pick", "copies", "mix", "slide", "windows",
            )  # fmt: skip
        getattr(self, f"_{self.choose(kinds)}")(x, shape)

    def _conv(self, x: int, shape: tuple[int, ...], *, depthwise: bool = False) -> None:
        width = shape[0]
        kernel = self.choose([k for k in (3, 1, 2) if k <= min(shape[1:])] or [1])
        padding = self.choose([p for p in (kernel // 2, 0, 2) if p <= kernel])
        mode = self.choose(("zeros", "zeros", "zeros", "reflect", "circular", "replicate"))
        if mode != "zeros" and padding >= min(shape[1:]):
            mode = "zeros"
        stride = self.choose((1, 2))
        groups = width if depthwise else 1
        out = width * self.choose((1, 2)) if depthwise else self.choose(WIDTHS)
        if not depthwise and self.choose((False, False, True)):
            groups = self.divisor(width, out)
        layer = CONVS[self.rank](
            width,
            out,
            kernel,
            stride,
            padding,
            groups=groups,
            bias=self.choose((True, False)),
            padding_mode=mode,
        )
        space = tuple((n + 2 * padding - kernel) // stride + 1 for n in shape[1:])
        self.run_layer(x, layer, (out, *space))

    def _depthwise(self, x: int, shape: tuple[int, ...]) -> None:
        self._conv(x, shape, depthwise=True)

    def _transposed(self, x: int, shape: tuple[int, ...]) -> None:
        kernel, stride = self.choose(((2, 2), (1, 1), (3, 1), (3, 2)))
        padding = self.choose((0, 1)) if kernel == 3 else 0
        space = tuple((n - 1) * stride - 2 * padding + kernel for n in shape[1:])
        if min(space) < 1 or math.prod(space) > MAX_POSITIONS:
            return
        out = self.choose(WIDTHS)
        groups = self.divisor(shape[0], out) if self.choose((False, False, True)) else 1
        layer = TRANSPOSED[self.rank](
            shape[0], out, kernel, stride, padding, groups=groups, bias=self.choose((True, False))
        )
        self.run_layer(x, layer, (out, *space))

    def _reuse(self, x: int, shape: tuple[int, ...]) -> None:
        """Run a convolution again that exists already."""
        fits = [
            i
            for i, m in enumerate(self.layers)
            if type(m) is CONVS[self.rank] and m.in_channels == shape[0] and m.padding_mode == "zeros"
        ]
        if not fits:
            return
        number = self.choose(fits)
        layer = self.layers[number]
        pairs = zip(shape[1:], layer.kernel_size, layer.stride, layer.padding, strict=True)
        space = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in pairs)
        if min(space) >= 1:
            self.steps.append(Step("layer", (x,), number))
            self.shapes.append((layer.out_channels, *space))

    def _bn(self, x: int, shape: tuple[int, ...]) -> None:
        affine = self.choose((True, True, True, False))
        layer = (nn.BatchNorm1d if len(shape) == 1 else NORMS[self.rank])(shape[0], affine=affine)
        self.run_layer(x, layer, shape)

    def _norm(self, x: int, shape: tuple[int, ...]) -> None:
        name = self.choose(("group", "instance", "layer"))
        if name != "layer" and math.prod(shape[1:]) == 1:  # torch refuses norms of one number
            return
        if name == "group":
            layer: nn.Module = nn.GroupNorm(self.divisor(shape[0]), shape[0])
        elif name == "instance":
            layer = INSTANCE[self.rank](shape[0], affine=self.choose((True, False)))
        else:
            layer = ChannelsLast(nn.LayerNorm(shape[0]))
        self.run_layer(x, layer, shape)

    def _layer_norm(self, x: int, shape: tuple[int, ...]) -> None:
        self.run_layer(x, self.choose((nn.LayerNorm, nn.RMSNorm))(shape[0]), shape)

    def _activation(self, x: int, shape: tuple[int, ...]) -> None:
        name = self.choose(ACTIVATIONS)
        layers: dict[str, Callable[[], nn.Module]] = {
            "prelu": lambda: nn.PReLU(self.choose((1, shape[0]))), "hardtanh": nn.Hardtanh, "relu6": nn.ReLU6,
            "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "softplus": nn.Softplus, "mish": nn.Mish,
            "silu": nn.SiLU, "gelu": nn.GELU, "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid,
            "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softsign": nn.Softsign,
            "celu": nn.CELU, "selu": nn.SELU,
            "logsigmoid": nn.LogSigmoid, "tanhshrink": nn.Tanhshrink,
        }  # fmt: skip
        if name == "abs":
            self.run("constant", (x,), ("mul", -1.5), shape)
        else:
            self.run_layer(x, layers[name](), shape)

    def _pair(self, x: int, shape: tuple[int, ...]) -> None:
        same = [i for i, s in enumerate(self.shapes) if s == shape]
        ones = [i for i, s in enumerate(self.shapes) if s == (shape[0],) + (1,) * (len(shape) - 1)]
        other = self.choose(same + ones)
        kind = self.choose(("add", "add", "mul", "sub", "maximum"))
        if x == other and kind == "sub":  # zero by algebra, which no rule is asked to see
            kind = "add"
        self.run(kind, (x, other), (), shape)

    def _cat(self, x: int, shape: tuple[int, ...]) -> None:
        fits = [i for i, s in enumerate(self.shapes) if s[1:] == shape[1:]]
        takes = (x, *(self.choose(fits) for _ in range(self.choose((1, 2)))))
        total = sum(self.shapes[i][0] for i in takes)
        if total <= 24:
            self.run("cat", takes, (), (total, *shape[1:]))

    def _cut(self, x: int, shape: tuple[int, ...]) -> None:
        width = shape[0]
        name = self.choose(("chunk", "slice", "split", "flip"))
        if name == "flip":
            self.run("flip", (x,), (), shape)
        elif name == "slice" and width > 1:
            start = self.choose(range(width - 1))
            stop = self.choose(range(start + 1, width + 1))
            self.run("slice", (x,), (start, stop), (stop - start, *shape[1:]))
        elif width > 1:
            parts = self.choose([d for d in range(2, min(width, 4) + 1) if width % d == 0] or [width])
            pieces = [(width // parts, *shape[1:])] * parts
            name, option = ("chunk", parts) if name == "chunk" else ("split", width // parts)
            self.run(name, (x,), (option,), *pieces)

    def _pool(self, x: int, shape: tuple[int, ...]) -> None:
        if min(shape[1:]) < 2:
            self.run_layer(x, GLOBAL_POOLS[self.rank](1), (shape[0],) + (1,) * self.rank)
            return
        padding = self.choose((0, 1))
        if self.choose((True, False)):
            layer: nn.Module = MAX_POOLS[self.rank](2, 2, padding)
        else:
            layer = AVG_POOLS[self.rank](2, 2, padding, count_include_pad=self.choose((True, False)))
        self.run_layer(x, layer, (shape[0], *((n + 2 * padding - 2) // 2 + 1 for n in shape[1:])))

    def _upsample(self, x: int, shape: tuple[int, ...]) -> None:
        space = tuple(2 * n for n in shape[1:])
        if math.prod(space) <= MAX_POSITIONS:
            mode = self.choose(("nearest", LINEAR_UPSAMPLE[self.rank]))
            self.run("upsample", (x,), (mode,), (shape[0], *space))

    def _gate(self, x: int, shape: tuple[int, ...]) -> None:
        self.run_layer(x, Gate(self.rank, shape[0], self.choose((2, 1, 3))), shape)

    def _scale(self, x: int, shape: tuple[int, ...]) -> None:
        self.run_layer(x, Scale(self.rank, shape[0]), shape)

    def _pad_space(self, x: int, shape: tuple[int, ...]) -> None:
        space = tuple(n + 2 for n in shape[1:])
        if math.prod(space) > MAX_POSITIONS:
            return
        mode, value = self.choose(
            (("constant", 0.0), ("constant", 1.5), ("replicate", None), ("reflect", None))
        )
        if mode == "reflect" and min(shape[1:]) < 2:
            return
        self.run("pad_space", (x,), (mode, value), (shape[0], *space))

    def _option_a(self, x: int, shape: tuple[int, ...]) -> None:
        low, high = self.choose((0, 1, 2)), self.choose((2, 1))
        space = tuple((n + 1) // 2 for n in shape[1:])
        self.run("option_a", (x,), (low, high), (shape[0] + low + high, *space))

    def _shuffle(self, x: int, shape: tuple[int, ...]) -> None:
        groups = self.divisor(shape[0])
        self.run("shuffle", (x,), (groups,), shape)

    def _pick(self, x: int, shape: tuple[int, ...]) -> None:
        order = [self.choose(range(shape[0])) for _ in range(self.choose((3, 1, 2, 5)))]
        if self.choose((True, False)):
            self.run_layer(x, Pick(order), (len(order), *shape[1:]))
        else:
            self.run("select", (x,), (tuple(order),), (len(order), *shape[1:]))

    def _copies(self, x: int, shape: tuple[int, ...]) -> None:
        times = self.choose((2, 3))
        if times * shape[0] <= 24:
            self.run(self.choose(("repeat", "interleave")), (x,), (times,), (times * shape[0], *shape[1:]))

    def _mix(self, x: int, shape: tuple[int, ...]) -> None:
        out = self.choose(WIDTHS)
        self.run_layer(x, Mix(shape[0], out), (out, *shape[1:]))

    def _slide(self, x: int, shape: tuple[int, ...]) -> None:
        axis = self.choose(range(2, self.rank + 2))
        if shape[axis - 1] > 1:
            space = [n - 1 if d == axis - 1 else n for d, n in enumerate(shape)]
            self.run("slide", (x,), (axis,), tuple(space))

    def _windows(self, x: int, shape: tuple[int, ...]) -> None:
        padding = self.choose((0, 1))
        if self.rank == 2 and 2 * shape[0] <= 24 and shape[1] + 2 * padding > 1:
            high, wide = shape[1] + 2 * padding - 1, shape[2] + 2 * padding
            self.run("windows", (x,), (padding,), (2 * shape[0], high, wide))

    def _to_vector(self, x: int, shape: tuple[int, ...]) -> None:
        name = self.choose(("mean_space", "max_space", "flatten"))
        if name == "flatten" and math.prod(shape) > 200:
            name = "mean_space"
        self.run(name, (x,), (), (math.prod(shape),) if name == "flatten" else (shape[0],))

    def _linear(self, x: int, shape: tuple[int, ...]) -> None:
        out = self.choose(WIDTHS)
        self.run_layer(x, nn.Linear(shape[0], out, bias=self.choose((True, False))), (out,))

    def _last(self, x: int, shape: tuple[int, ...]) -> None:
        """A linear layer over the channels, in channels-last order."""
        out = self.choose(WIDTHS)
        layer = ChannelsLast(nn.Linear(shape[0], out, bias=self.choose((True, False))))
        self.run_layer(x, layer, (out, *shape[1:]))

    def _over_channels(self, x: int, shape: tuple[int, ...]) -> None:
        name = self.choose(("mean", "sum", "amax", "amin", "softmax", "cumsum"))
        if name == "softmax":
            self.run("softmax", (x,), (), shape)
        elif name == "cumsum":
            self.run("cumsum", (x,), (self.choose((1, 2)),), shape)
        else:
            self.run("over_channels", (x,), (name,), (1, *shape[1:]))

    def _dead_end(self, x: int, shape: tuple[int, ...]) -> None:
        """A number added or multiplied; zero kills what comes before."""
        name, value = self.choose((("add", 1.0), ("mul", 2.0), ("mul", 0.0)))
        self.run("constant", (x,), (name, value), shape)


@dataclass(frozen=True)
class Drawn:
    """A network and the example it is traced with.

    Attributes:
        model: In evaluation mode or not, as drawn.
        example: Positional inputs.
        poisoned: Whether a NaN or an infinity was planted.
    """

    model: RandomNetwork
    example: tuple[Tensor, ...]
    poisoned: bool


def draw_network(choose: Choose, *, steps: int = 8, poison: bool = True) -> Drawn:
    """A random network with random dead channels.

    Args:
        choose: Picks one of a sequence; `random.Random(seed).choice` or a hypothesis draw.
        steps: How many operators at most.
        poison: Whether NaN, infinity and denormal numbers may be planted.
    """
    torch.manual_seed(choose(range(1000)))
    builder = Builder(choose, choose((2, 2, 1, 3)))
    size = choose({1: (8, 5, 9), 2: (6, 5, 4, 1), 3: (4, 3)}[builder.rank])
    batch = choose((2, 1, 3))
    for _ in range(choose((1, 1, 1, 2))):
        builder.shapes.append((choose((3, 1, 2, 4)), *[size] * builder.rank))
    inputs = len(builder.shapes)
    for _ in range(choose(range(2, steps + 1))):
        builder.step()
    if len(builder.shapes) == inputs:
        builder._conv(0, builder.shapes[0])
    last = len(builder.shapes) - 1
    returns = [last] + [choose(range(inputs, last + 1)) for _ in range(choose((0, 0, 0, 1)))]
    model = RandomNetwork(builder.layers, tuple(builder.steps), tuple(dict.fromkeys(returns)))
    poisoned = plant(model, choose, poison=poison)
    example = tuple(torch.randn(batch, *builder.shapes[i]) for i in range(inputs))
    if choose((False, True)):
        model, example = model.double(), tuple(x.double() for x in example)
    return Drawn(model.eval(), example, poisoned)


def plant(model: nn.Module, choose: Choose, *, poison: bool) -> bool:
    """Random statistics for norms and random deaths, in place; True if a NaN or infinity went in."""
    poisoned = False
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            weight = getattr(module, "weight", None)
            if isinstance(module, Scale):
                _kill(module.factor, None, choose(("none", "rows", "all")), 0)
                _kill(module.offset, None, choose(("none", "cells", "all")), 1)
                continue
            if not isinstance(weight, nn.Parameter) or isinstance(module, nn.PReLU):
                continue
            bias = module.bias if isinstance(getattr(module, "bias", None), nn.Parameter) else None
            if weight.dim() == 1:
                weight.normal_()
                if bias is not None:
                    bias.normal_()
                _kill(weight, bias, choose(("none", "rows", "rows_bias", "all", "all_bias", "half_bias")), 0)
                continue
            axis = 1 if isinstance(module, nn.modules.conv._ConvTransposeNd) else 0
            how = choose(DEATHS if poison else DEATHS[:-1])
            _kill(weight, bias, how, axis)
            if poison and choose((False,) * 12 + (True,)):
                weight.view(-1)[choose(range(weight.numel()))] = choose((math.nan, math.inf, -math.inf))
                poisoned = True
    return poisoned


def _kill(weight: Tensor, bias: Tensor | None, how: str, axis: int) -> None:
    """Set zeros, drawn by torch's own generator so that choices stay few."""
    name = how.removesuffix("_bias")
    rows = torch.rand(weight.shape[axis]) < 0.6
    if name == "rows":
        weight.transpose(0, axis)[rows] = 0
    elif name == "columns":
        weight.transpose(0, 1 - axis)[torch.rand(weight.shape[1 - axis]) < 0.6] = 0
    elif name == "cells":
        weight[torch.rand(weight.shape) < (0.7, 0.9, 0.97)[int(torch.randint(3, ()))]] = 0
    elif name == "all":
        weight.zero_()
        rows[:] = True
    elif name == "one":
        rows = torch.arange(weight.shape[axis]) != 0
        weight.transpose(0, axis)[rows] = 0
    elif name == "denormal":
        weight.transpose(0, axis)[rows] = 1e-42
    if bias is not None and how.endswith("_bias"):
        bias[rows[: len(bias)] if len(rows) >= len(bias) else slice(None)] = 0
