# SPDX-License-Identifier: Apache-2.0
"""A speech recogniser in the manner of Deep Speech 2 (Amodei et al., ICML 2016), on two GRU layers."""

from torch import Tensor, nn

from bench.networks.blocks import conv_norm, noise
from bench.networks.plant import Part, Site

SMALL = {"hidden": 24, "width": 8}
SITES = (
    Site("", writes=("front.0",), reads=("front.1.0",)),
    Site("", writes=("front.1",), reads=(Part("gru", parameter="weight_ih_l0", axis=1),)),
    Site(  # torch keeps one hidden size for both layers, so a unit is dead in both
        "",
        writes=(
            Part("gru", parameter="weight_ih_l0", axis=0, repeat=3),
            Part("gru", parameter="weight_hh_l0", axis=0, repeat=3),
            Part("gru", parameter="weight_ih_l1", axis=0, repeat=3),
            Part("gru", parameter="weight_hh_l1", axis=0, repeat=3),
            Part("gru", parameter="bias_ih_l0", repeat=3, axis=0, shift=True),
            Part("gru", parameter="bias_hh_l0", repeat=3, axis=0, shift=True),
            Part("gru", parameter="bias_ih_l1", repeat=3, axis=0, shift=True),
            Part("gru", parameter="bias_hh_l1", repeat=3, axis=0, shift=True),
        ),
        reads=(
            Part("gru", parameter="weight_hh_l0", axis=1),
            Part("gru", parameter="weight_ih_l1", axis=1),
            Part("gru", parameter="weight_hh_l1", axis=1),
            "fc",
        ),
        kinds=("zero", "unread"),
    ),
)


class Speech(nn.Module):
    """Spectrogram in, log-probabilities of characters per frame out."""

    def __init__(self, bands: int, width: int, hidden: int, characters: int) -> None:
        super().__init__()
        self.front = nn.Sequential(
            conv_norm(1, width, 3, stride=2, act=nn.Hardtanh), conv_norm(width, width, 3, stride=2)
        )
        self.gru = nn.GRU(width * (bands // 4), hidden, num_layers=2, batch_first=True)
        self.fc = nn.Linear(hidden, characters)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        x = x.permute(0, 2, 1, 3).flatten(2)
        x, _ = self.gru(x)
        return self.fc(x).log_softmax(dim=-1)


def build(bands: int = 40, width: int = 32, hidden: int = 256, characters: int = 29) -> nn.Module:
    """`bands` of the spectrogram must be a multiple of 4."""
    return Speech(bands, width, hidden, characters)


def example(batch: int = 2, frames: int = 32, bands: int = 40) -> tuple[Tensor, ...]:
    """`(batch, 1, frames, bands)`, float32."""
    return (noise(batch, 1, frames, bands),)
