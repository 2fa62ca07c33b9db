# SPDX-License-Identifier: Apache-2.0
"""A temporal convolutional network (Bai et al., 2018), without the paper's weight normalisation."""

from torch import Tensor, nn

from bench.networks.blocks import noise
from bench.networks.plant import Site

SMALL = {"widths": (12, 12)}
SITES = (
    Site("blocks.*", writes=("conv1",), reads=("conv2",)),
    Site("blocks", writes=("0.shortcut", "*.conv2"), kinds=("zero",)),  # the residual stream
)


class Block(nn.Module):
    """Two dilated causal convolutions around a shortcut."""

    def __init__(self, inside: int, outside: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.trim = (kernel - 1) * dilation
        self.conv1 = nn.Conv1d(inside, outside, kernel, padding=self.trim, dilation=dilation)
        self.conv2 = nn.Conv1d(outside, outside, kernel, padding=self.trim, dilation=dilation)
        self.shortcut = nn.Conv1d(inside, outside, 1) if inside != outside else None
        self.act = nn.ReLU()
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)[:, :, : -self.trim].contiguous()
        out = self.dropout(self.act(out))
        out = self.conv2(out)[:, :, : -self.trim].contiguous()
        out = self.dropout(self.act(out))
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return self.act(out + shortcut)


class TCN(nn.Module):
    """Blocks of doubling dilation, linear on the last step."""

    def __init__(self, channels: int, widths: tuple[int, ...], kernel: int, classes: int) -> None:
        super().__init__()
        entries = [channels, *widths[:-1]]
        self.blocks = nn.Sequential(
            *[
                Block(inside, outside, kernel, 2**level)
                for level, (inside, outside) in enumerate(zip(entries, widths, strict=True))
            ]
        )
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        return self.fc(x[:, :, -1])


def build(
    channels: int = 6, widths: tuple[int, ...] = (48, 48, 48, 48, 48), kernel: int = 5, classes: int = 10
) -> nn.Module:
    """One block per entry of `widths`."""
    return TCN(channels, widths, kernel, classes)


def example(batch: int = 2, steps: int = 64, channels: int = 6) -> tuple[Tensor, ...]:
    """`(batch, channels, steps)`, float32."""
    return (noise(batch, channels, steps),)
