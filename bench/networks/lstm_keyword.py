# SPDX-License-Identifier: Apache-2.0
"""A keyword spotter on LSTM layers (as in Sun et al., SLT 2016): frames, two LSTM, the last step, linear."""

from torch import Tensor, nn

from bench.networks.blocks import noise
from bench.networks.plant import Part, Site

SMALL = {"hidden": 24}


def _unit(layer: int) -> Site:
    """A hidden unit of one layer: four gates, read by itself and by what follows."""
    name = f"layers.{layer}"
    weights = [Part(name, parameter=leaf, axis=0, repeat=4) for leaf in ("weight_ih_l0", "weight_hh_l0")]
    biases = [
        Part(name, parameter=leaf, axis=0, repeat=4, shift=True) for leaf in ("bias_ih_l0", "bias_hh_l0")
    ]
    after = Part("layers.1", parameter="weight_ih_l0", axis=1) if layer == 0 else "hidden"
    own = Part(name, parameter="weight_hh_l0", axis=1)
    return Site("", writes=(*weights, *biases), reads=(own, after), kinds=("zero", "unread"))


SITES = (_unit(0), _unit(1), Site("", writes=("hidden",), reads=("fc",)))


class Keyword(nn.Module):
    """Acoustic features in, one score per keyword out."""

    def __init__(self, bands: int, hidden: int, keywords: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(bands)
        self.layers = nn.ModuleList(
            [nn.LSTM(bands, hidden, batch_first=True), nn.LSTM(hidden, hidden, batch_first=True)]
        )
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight_hh_l0)
            nn.init.xavier_uniform_(layer.weight_ih_l0, gain=2.0)  # else the last step hardly sees the input
        self.hidden = nn.Linear(hidden, hidden)
        self.act = nn.Tanh()
        self.fc = nn.Linear(hidden, keywords)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        for layer in self.layers:
            x, _ = layer(x)
        return self.fc(self.act(self.hidden(x[:, -1])))


def build(bands: int = 40, hidden: int = 128, keywords: int = 12) -> nn.Module:
    """Two layers of `hidden` units."""
    return Keyword(bands, hidden, keywords)


def example(batch: int = 2, frames: int = 20, bands: int = 40) -> tuple[Tensor, ...]:
    """`(batch, frames, bands)`, float32."""
    return (noise(batch, frames, bands),)
