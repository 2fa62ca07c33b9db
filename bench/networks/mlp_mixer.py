# SPDX-License-Identifier: Apache-2.0
"""MLP-Mixer S/16 (Tolstikhin et al., NeurIPS 2021): 18,528,264 parameters at size 224 and 1000 classes."""

from torch import Tensor, nn

from bench.networks.blocks import Mlp, noise
from bench.networks.plant import Site

SMALL = {"depth": 2, "width": 64}
SITES = (
    Site("blocks.*.mix_tokens", writes=("fc1",), reads=("fc2",)),
    Site("blocks.*.mix_channels", writes=("fc1",), reads=("fc2",)),
)


class Block(nn.Module):
    """One MLP over the tokens, one over the channels."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.mix_tokens = Mlp(tokens, width // 2)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mix_channels = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mix_channels(self.norm2(x))


class Mixer(nn.Module):
    """Patches, blocks, mean over tokens, linear."""

    def __init__(self, image: int, patch: int, width: int, depth: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.blocks = nn.Sequential(*[Block((image // patch) ** 2, width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        B, C, H, W = x.shape
        x = x.reshape(B, C, H * W).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


def build(
    image: int = 64, patch: int = 16, width: int = 512, depth: int = 8, classes: int = 1000
) -> nn.Module:
    """Mixer S/16 unless told otherwise."""
    return Mixer(image, patch, width, depth, classes)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; `size` as built, the paper's is 224."""
    return (noise(batch, 3, size, size),)
