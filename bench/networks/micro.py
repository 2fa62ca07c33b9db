# SPDX-License-Identifier: Apache-2.0
"""Small networks, each around one way in which people wire channels together."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from bench.networks.blocks import SqueezeExcite, conv_norm, noise, tokens
from bench.networks.plant import Part, Site

_CONVS = (Site("", writes=("first",), reads=("second",)),)
_NO_CONSTANT = ("zero", "unread")


class Micro(nn.Module):
    """What the shelf lists: each subclass is one network."""

    SITES: ClassVar[tuple[Site, ...]] = _CONVS

    @staticmethod
    def example(batch: int = 2) -> tuple[Tensor, ...]:
        """Inputs of `batch` samples; images of 3 channels, 8 by 8, unless the subclass says otherwise."""
        return (noise(batch, 3, 8, 8),)


class PlainConv(Micro):
    """Two convolutions with a norm between."""

    SITES = (Site("", writes=("first", "norm"), reads=("second",)),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.second = nn.Conv2d(12, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.norm(self.first(x))))


class CatSame(Micro):
    """The same tensor twice in one concatenation."""

    SITES = (Site("", writes=("first",), reads=(Part("second", repeat=2, block=1),)),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        self.second = nn.Conv2d(20, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return self.second(torch.cat([x, x], 1))


class Cat(Micro):
    """Two branches and the input in one concatenation."""

    SITES = (
        Site("", writes=("left",), reads=(Part("join", block=1),)),
        # A sigmoid makes one half of a zero.
        Site("", writes=("right",), reads=(Part("join", start=10, block=1),), kinds=("constant", "unread")),
    )

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 10, 3, padding=1)
        self.right = nn.Conv2d(3, 6, 5, padding=2)
        self.join = nn.Conv2d(19, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([self.left(x).relu(), self.right(x).sigmoid(), x], dim=1))


class FlattenLinear(Micro):
    """A map flattened into a linear layer."""

    SITES = (
        Site("", writes=("features.0",), reads=("features.3",)),
        Site("", writes=("features.3",), reads=("fc1",)),
        Site("", writes=("fc1",), reads=("fc2",)),
    )

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 10, 3),
            nn.ReLU(),
        )
        self.fc1 = nn.Linear(10 * 2 * 2, 16)
        self.fc2 = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1)
        return self.fc2(torch.tanh(self.fc1(x)))


class Transposed(Micro):
    """Transposed convolutions."""

    SITES = (
        Site("", writes=("down",), reads=("up",)),
        Site("", writes=("up", "norm"), reads=("out",)),
    )

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 10, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(10, 8, 4, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.out = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.down(x), 0.1)
        return self.out(F.relu(self.norm(self.up(x))))


class SqueezeExcited(Micro):
    """A gate per channel."""

    SITES = (
        Site("", writes=("first", "squeeze.fc2"), reads=("second", "squeeze.fc1")),
        Site("squeeze", writes=("fc1",), reads=("fc2",)),
    )

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.squeeze = SqueezeExcite(12, 4)
        self.second = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.squeeze(self.first(x).relu()))


class Prelu(Micro):
    """A learned slope per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        self.act = nn.PReLU(10, init=0.1)
        self.second = nn.Conv2d(10, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.act(self.first(x)))


class ParameterScale(Micro):
    """A learned factor per channel, which alone can kill it."""

    SITES = (Site("", writes=(Part("", parameter="scale", axis=0),), reads=("second",), kinds=_NO_CONSTANT),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(10, 1, 1) + 0.5)
        self.second = nn.Conv2d(10, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.gelu(self.first(x)) * self.scale)


class NhwcLinear(Micro):
    """Linear layers over channels last."""

    SITES = (
        Site("", writes=("conv",), reads=("first",)),
        Site("", writes=("first",), reads=("second",)),
    )

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Linear(8, 16)
        self.second = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).permute(0, 2, 3, 1)
        x = self.second(F.gelu(self.first(x)))
        return x.permute(0, 3, 1, 2)


class ChannelShuffle(Micro):
    """Channels interleaved by a view and a transpose."""

    SITES = (Site("", writes=("first",), kinds=("zero", "constant"), even="groups"),)

    def __init__(self) -> None:
        super().__init__()
        self.groups = 2
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        B, C, H, W = x.shape
        x = x.view(B, self.groups, C // self.groups, H, W).transpose(1, 2).reshape(B, C, H, W)
        return self.second(x)


class ChunkSplitAdd(Micro):
    """Two halves of the channels summed."""

    SITES = (Site("", writes=(Part("first", repeat=2),), reads=("second",)),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x).chunk(2, dim=1)
        return self.second(F.relu(a + b))


class GroupNormed(Micro):
    """Norms over groups of channels, which mix what they norm; the channels between them can go."""

    SITES = (Site("", writes=("inner",), reads=("out",)),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1 = nn.GroupNorm(4, 8)
        self.inner = nn.Conv2d(8, 12, 3, padding=1)
        self.out = nn.Conv2d(12, 6, 3, padding=1)
        self.norm2 = nn.GroupNorm(2, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm1(self.first(x)))
        return self.norm2(self.out(F.silu(self.inner(x))))


class SharedConv(Micro):
    """One convolution used twice, so that its inputs and outputs are the same channels."""

    SITES = (Site("", writes=("first", "shared"), reads=("shared", "second"), kinds=_NO_CONSTANT),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        self.shared = nn.Conv2d(10, 10, 3, padding=1)
        self.second = nn.Conv2d(10, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        for _ in range(2):
            x = F.relu(self.shared(x))
        return self.second(x)


class OptionA(Micro):
    """CIFAR's residual block whose shortcut pads the missing channels with zeros."""

    SITES = (Site("", writes=("conv1", "bn1"), reads=("conv2",)),)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        out = F.relu(out + shortcut)
        return self.fc(F.avg_pool2d(out, out.size(3)).view(out.size(0), -1))


class ChannelSlice(Micro):
    """Two runs of the channels that go different ways."""

    SITES = (
        Site("", writes=("left",), reads=(Part("join", block=1),)),
        Site("", writes=("right",), reads=(Part("join", start=8, block=1),)),
    )

    def __init__(self) -> None:
        super().__init__()
        self.border = 4
        self.stem = nn.Conv2d(3, 10, 3, padding=1)
        self.left = nn.Conv2d(4, 8, 3, padding=1)
        self.right = nn.Conv2d(6, 8, 1)
        self.join = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        left, right = x[:, : self.border], x[:, self.border :]
        return self.join(torch.cat([self.left(left).relu(), self.right(right).relu()], 1))


class Grouped(Micro):
    """A grouped convolution, whose groups must stay equally wide."""

    SITES = (
        Site("", writes=("first",), reads=("grouped",), kinds=_NO_CONSTANT, even="grouped.groups"),
        Site("", writes=("grouped",), reads=("second",), even="grouped.groups"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 1)
        self.grouped = nn.Conv2d(12, 24, 3, padding=1, groups=3)
        self.second = nn.Conv2d(24, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.grouped(F.relu(self.first(x)))))


class Depthwise(Micro):
    """One filter per channel."""

    SITES = (Site("", writes=("first", "depthwise"), reads=("second",)),)

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_norm(3, 12, act=nn.ReLU6)
        self.depthwise = conv_norm(12, 12, 3, groups=12, act=nn.ReLU6)
        self.second = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.depthwise(self.first(x)))


class PixelShuffled(Micro):
    """Upsampling that turns four channels into one of twice the size; four constants make a pattern there."""

    SITES = (
        Site(
            "",
            writes=(Part("first", block=4),),
            reads=("second",),
            kinds=_NO_CONSTANT,
            units="second.in_channels",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.second = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.shuffle(self.first(x)).relu())


class ChannelBuffers(Micro):
    """Registered buffers subtracted and divided per channel."""

    SITES = (Site("", writes=("first", Part("", parameter="shift", axis=1, shift=True)), reads=("second",)),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        self.register_buffer("shift", torch.randn(1, 10, 1, 1))
        self.register_buffer("spread", torch.rand(1, 10, 1, 1) + 0.5)
        self.second = nn.Conv2d(10, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = (self.first(x) - self.shift) / self.spread
        return self.second(F.relu(x))


class OwnWeight(Micro):
    """A convolution called as a function, with parameters of the module itself."""

    SITES = (
        Site(
            "",
            writes=(
                Part("", parameter="kernel", axis=0),
                Part("", parameter="offset", axis=0, shift=True),
            ),
            reads=("second",),
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(0.3 * torch.randn(10, 3, 3, 3))
        self.offset = nn.Parameter(0.3 * torch.randn(10))
        self.second = nn.Conv2d(10, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.kernel, self.offset, stride=1, padding=1)
        return self.second(F.relu(x))


class Einsum(Micro):
    """A channel mix written as an einsum."""

    SITES = (Site("", writes=(Part("", parameter="mix", axis=1),), reads=("second",), kinds=_NO_CONSTANT),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.mix = nn.Parameter(0.4 * torch.randn(8, 12))
        self.second = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = torch.einsum("bchw,cd->bdhw", x, self.mix)
        return self.second(F.relu(x))


class WeightNormed(Micro):
    """Weights as length times direction; a length of zero kills the filter."""

    SITES = (
        Site(
            "",
            writes=(
                Part("first", parameter="parametrizations.weight.original0", axis=0),
                Part("first", parameter="bias", axis=0, shift=True),
            ),
            reads=("second",),
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.first = parametrizations.weight_norm(nn.Conv2d(3, 10, 3, padding=1))
        self.second = nn.Conv2d(10, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.elu(self.first(x)))


class Pruned(Micro):
    """Masks of `torch.nn.utils.prune` that are still attached."""

    SITES = (
        Site(
            "",
            writes=(
                Part("first", parameter="weight_mask", axis=0),
                Part("first", parameter="bias", axis=0, shift=True),
            ),
            reads=("second",),
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        prune.l1_unstructured(self.first, "weight", amount=0.5)
        self.second = nn.Conv2d(10, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


class Gru(Micro):
    """One recurrent layer."""

    SITES = (
        Site(
            "",
            writes=(
                Part("gru", parameter="weight_ih_l0", axis=0, repeat=3),
                Part("gru", parameter="weight_hh_l0", axis=0, repeat=3),
                Part("gru", parameter="bias_ih_l0", axis=0, repeat=3, shift=True),
                Part("gru", parameter="bias_hh_l0", axis=0, repeat=3, shift=True),
            ),
            reads=(Part("gru", parameter="weight_hh_l0", axis=1), "fc"),
            kinds=_NO_CONSTANT,
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 10, batch_first=True)
        self.fc = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.gru(x)
        return self.fc(x)

    @staticmethod
    def example(batch: int = 2) -> tuple[Tensor, ...]:
        return (noise(batch, 7, 6),)


class Frozen(Micro):
    """Parameters that take no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        self.second = nn.Conv2d(10, 5, 3, padding=1)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


class Conv1d(Micro):
    """Convolutions over time."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 10, 3, padding="same")
        self.second = nn.Conv1d(10, 5, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))

    @staticmethod
    def example(batch: int = 2) -> tuple[Tensor, ...]:
        return (noise(batch, 4, 16),)


class Conv3d(Micro):
    """Convolutions over volumes."""

    SITES = (Site("", writes=("first", "norm"), reads=("second",)),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(2, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(8)
        self.pool = nn.MaxPool3d(2)
        self.second = nn.Conv3d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.pool(F.relu(self.norm(self.first(x)))))

    @staticmethod
    def example(batch: int = 2) -> tuple[Tensor, ...]:
        return (noise(batch, 2, 4, 6, 6),)


class InstanceNormed(Micro):
    """A norm per channel and sample, which turns a constant into its shift."""

    SITES = (Site("", writes=("first", "norm"), reads=("second",)),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        self.norm = nn.InstanceNorm2d(10, affine=True)
        self.second = nn.Conv2d(10, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.norm(self.first(x))))


class Glu(Micro):
    """One half of the channels gates the other."""

    SITES = (Site("", writes=(Part("first", repeat=2),), reads=("second",)),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 20, 3, padding=1)
        self.second = nn.Conv2d(10, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.glu(self.first(x), dim=1))


class GatedMlp(Micro):
    """The MLP of recent language models."""

    SITES = (Site("", writes=("gate", "up"), reads=("down",)),)

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 20)
        self.up = nn.Linear(8, 20)
        self.down = nn.Linear(20, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.silu(self.gate(x)) * self.up(x))

    @staticmethod
    def example(batch: int = 2) -> tuple[Tensor, ...]:
        return (noise(batch, 6, 8),)


class TwoInputs(Micro):
    """An image and a vector that meet in a sum."""

    SITES = (Site("", writes=("image", "vector"), reads=("second",)),)

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 10, 3, padding=1)
        self.vector = nn.Linear(4, 10)
        self.second = nn.Conv2d(10, 5, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        out = self.image(x) + self.vector(condition)[:, :, None, None]
        return self.second(F.relu(out))

    @staticmethod
    def example(batch: int = 2) -> tuple[Tensor, ...]:
        return (noise(batch, 3, 8, 8), noise(batch, 4, seed=1))


class TwoOutputs(Micro):
    """A body with two heads."""

    SITES = (Site("", writes=("body",), reads=("mask", "label")),)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 12, 3, padding=1)
        self.mask = nn.Conv2d(12, 1, 1)
        self.label = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.body(x))
        return self.mask(x), self.label(x.mean(dim=(2, 3)))


class Bagged(Micro):
    """The mean of embeddings."""

    SITES = (
        Site("", writes=(Part("bag", axis=1),), reads=("first",), kinds=_NO_CONSTANT),
        Site("", writes=("first",), reads=("second",)),
    )

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(50, 12, mode="mean")
        self.first = nn.Linear(12, 16)
        self.second = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(self.bag(x))))

    @staticmethod
    def example(batch: int = 2) -> tuple[Tensor, ...]:
        return (tokens(batch, 6, vocabulary=50),)


class Embedded(Micro):
    """Embeddings into a convolution over time."""

    SITES = (
        Site("", writes=(Part("embedding", axis=1),), reads=("first",), kinds=_NO_CONSTANT),
        Site("", writes=("first",), reads=("second",)),
    )

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 12)
        self.first = nn.Conv1d(12, 10, 3, padding=1)
        self.second = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x).transpose(1, 2)
        x = F.relu(self.first(x)).amax(dim=-1)
        return self.second(x)

    @staticmethod
    def example(batch: int = 2) -> tuple[Tensor, ...]:
        return (tokens(batch, 7, vocabulary=50),)


class HardFlatten(Micro):
    """A flatten whose size the author wrote out: `last` cannot go without a change of that line."""

    SITES = (Site("", writes=("first",), reads=("last",)),)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        self.last = nn.Conv2d(10, 8, 3, padding=1)
        self.fc = nn.Linear(512, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.last(F.relu(self.first(x))))
        x = x.view(-1, 512)
        return self.fc(x)


class LayerNormLast(Micro):
    """A norm over channels last, which mixes them; the MLP behind it can go narrow."""

    SITES = (Site("", writes=("first",), reads=("second",)),)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.first = nn.Linear(8, 16)
        self.second = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).permute(0, 2, 3, 1)
        x = x + self.second(F.gelu(self.first(self.norm(x))))
        return x.permute(0, 3, 1, 2).contiguous()


class RmsNormed(Micro):
    """A root-mean-square norm, under which a zero channel stays zero but still counts."""

    SITES = (Site("", writes=("first",), reads=("second",)),)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.norm = nn.RMSNorm(8)
        self.first = nn.Linear(8, 20)
        self.second = nn.Linear(20, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.second(F.silu(self.first(self.norm(x))))

    @staticmethod
    def example(batch: int = 2) -> tuple[Tensor, ...]:
        return (noise(batch, 5, 6),)
