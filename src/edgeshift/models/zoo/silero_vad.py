# SPDX-License-Identifier: Apache-2.0
"""The Silero voice activity detector: a short-time Fourier transform, four convolutions and an LSTM cell."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import image_shape, kaiming_

# Output channels and stride of each convolution; all span three frames.
WIDTHS, STRIDES = (128, 64, 64, 128), (1, 2, 2, 1)
HIDDEN = 128


class State(NamedTuple):
    """What one chunk leaves for the next.

    Attributes:
        context: Its last samples, `(batch, channels, window / 4)`, float32.
        hidden: Output of the LSTM cell, `(batch, 128)`, float32.
        cell: Memory of the LSTM cell, `(batch, 128)`, float32.
    """

    context: Tensor
    hidden: Tensor
    cell: Tensor


def fourier(window: int, channels: int) -> Tensor:
    """Cosines, then negative sines, under a periodic Hann window: `(window + 2, channels, window)`, float32.

    Every channel is weighted alike, so that the transform is that of their mean.
    """
    time = torch.arange(window, dtype=torch.float64)
    angles = 2 * math.pi / window * torch.arange(window // 2 + 1, dtype=torch.float64)[:, None] * time
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi / window * time)
    basis = torch.cat([angles.cos(), -angles.sin()]) * hann / channels
    return basis[:, None].repeat(1, channels, 1).float()


class Transform(nn.Module):
    """Magnitudes of a short-time Fourier transform; half a window from frame to frame.

    Its basis is a buffer: it is a fact, not learnt, and counts as no parameter.
    """

    weight: Tensor

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        self.quarter = window // 4
        self.register_buffer("weight", fourier(window, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Samples `(batch, channels, samples)` to `(batch, window / 2 + 1, frames)`; reflected on the right."""
        x = F.conv1d(F.pad(x, (0, self.quarter), mode="reflect"), self.weight, stride=2 * self.quarter)
        real, imaginary = x.chunk(2, 1)
        return (real.square() + imaginary.square()).sqrt()


class Network(nn.Module):
    """`forward` hears one chunk on its own, `step` one chunk of a stream.

    The logits are `(0, z)`, with z the published network's only output: their softmax is
    `(1 - sigmoid(z), sigmoid(z))`, so class 1 is speech. For more classes the last layer grows; class 0
    stays the one that the others are measured against.
    """

    def __init__(self, channels: int, classes: int, window: int) -> None:
        super().__init__()
        self.stft_conv = Transform(window, channels)
        before = window // 2 + 1
        for i, (after, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True), start=1):
            self.add_module(f"conv{i}", nn.Conv1d(before, after, 3, stride, 1))
            before = after
        self.lstm_cell = nn.LSTMCell(before, HIDDEN)
        self.final_conv = nn.Conv1d(HIDDEN, classes - 1, 1)

    def hear(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, hidden and cell after the samples `(batch, channels, samples)`, from a state or from zero."""
        x = self.stft_conv(x)
        for i in range(1, len(WIDTHS) + 1):
            x = F.relu(self.get_submodule(f"conv{i}")(x))
        hidden, cell = self.lstm_cell(x.select(2, 0), state)
        for frame in range(1, x.shape[2]):
            hidden, cell = self.lstm_cell(x.select(2, frame), (hidden, cell))
        return F.pad(self.final_conv(F.relu(hidden)[:, :, None]).flatten(1), (1, 0)), hidden, cell

    def forward(self, x: Tensor) -> Tensor:
        """Context and chunk `(batch, channels, samples, 1)` to logits `(batch, classes)`, from a zero state.

        Inputs of a greater width are read row after row.
        """
        return self.hear(x.flatten(2), None)[0]

    def step(self, chunk: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits of one chunk of a stream, and the state to give with the next one.

        Args:
            chunk: `(batch, channels, 2 * window, 1)`, float32 in -1..1, without its context.
            state: What the chunk before left; None at the start of a stream: all zero.
        """
        new = chunk.flatten(2)
        quarter = self.stft_conv.quarter
        past = new.new_zeros(*new.shape[:2], quarter) if state is None else state.context
        heard = torch.cat([past, new], 2)
        logits, hidden, cell = self.hear(heard, None if state is None else (state.hidden, state.cell))
        return logits, State(heard[:, :, -quarter:], hidden, cell)


@dataclass(frozen=True)
class SileroVad:
    """Is there speech in a short piece of sound? One answer per chunk; a state goes from chunk to chunk.

    Inputs are `(1, samples, 1)` in -1..1: the last quarter window of the chunk before, then a chunk of two
    windows. The network answers one input from a zero state, as every network here; its method
    `step(chunk, state)` answers a stream. Longer inputs give several frames to the LSTM cell, one after the
    other, and the logits are those after the last.

    Attributes:
        window: Samples the Fourier transform looks at: 256 at 16 kHz, 128 at 8 kHz.
    """

    card: ClassVar[Card] = Card(
        name="silero_vad",
        says="The Silero voice activity detector: Fourier transform, four convolutions, an LSTM cell; a stream.",
        paper="Silero Team, 2021",
        link="https://github.com/snakers4/silero-vad",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "silero_vad_wideband": {"window": 256},
        "silero_vad_narrowband": {"window": 128},
    }

    window: int = 256

    def __post_init__(self) -> None:
        if self.window < 4 or self.window % 4:
            raise BadValue("window", self.window, "a positive multiple of 4")

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`; an input must fill three quarters of the window, and the rest is reflected."""
        channels, height, width = image_shape(input_shape)
        shortest = self.window * 3 // 4
        if height * width < shortest:
            raise BadValue(
                "input_shape", input_shape, f"(channels, samples, 1) with at least {shortest} samples"
            )
        return kaiming_(Network(channels, classes, self.window))
