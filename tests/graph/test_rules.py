# SPDX-License-Identifier: Apache-2.0
"""Facts about single rules that no front end of its own shows."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeshift.graph.exact import shrink

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def test_a_constant_through_a_spread_kernel_is_no_constant() -> None:
    torch.manual_seed(0)  # stride 2 leaves positions that only the bias reaches
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 5, 1, stride=2), nn.Conv2d(5, 2, 1)
    )
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 0.7
    assert shrink(model.eval(), X).report.after.widths["0"] == 4


class Grouped(nn.Module):
    """Statistics over pairs of channels, written with a reshape and an instance norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(2, 2, 4, 4)`."""
        wide = F.instance_norm(self.first(x).reshape(2, 4, -1))
        return self.last(wide.reshape(2, -1, 4, 4))


def test_an_unread_channel_stays_where_others_are_normalised_with_it() -> None:
    model = Grouped().eval()
    with torch.no_grad():
        model.last.weight[:, [1, 3, 5, 7]] = 0
    assert shrink(model, X).report.after.widths == {"first": 8, "last": 2}


def test_the_shares_of_constants_are_constants() -> None:
    class Shares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).softmax(1))

    model = Shares().eval()
    with torch.no_grad():
        model.first.weight.zero_()
    shrunk = shrink(model, X)
    assert shrunk.report.after.widths == {"first": 4, "last": 2}  # a softmax needs all of them
    assert shrunk.proof.max_error_float64 <= 1e-9


def test_what_picks_from_padded_channels_spells_out_nothing() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(12, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(F.pad(self.first(x), (0, 0, 0, 0, 1, 1)).repeat(1, 2, 1, 1))

    model = Padded().eval()
    with torch.no_grad():
        model.last.weight[:, [0, 2, 5, 6, 8, 11]] = 0  # what is padded, and the second channel's copies
    shrunk = shrink(model, X)
    assert shrunk.report.after.widths == {"first": 3, "last": 2}
    assert len(shrunk.report.pinned) == 1


def test_empty_filters_of_a_transposed_grouped_convolution_give_their_bias() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.ConvTranspose2d(4, 4, 2, groups=2),
        nn.ReLU(),
        nn.Conv2d(4, 5, 1),
        nn.Conv2d(5, 2, 1),
    ).eval()
    with torch.no_grad():
        model[1].weight.zero_()
    shrunk = shrink(model, X)  # nothing depends on the input: of the later layer one channel stays
    assert shrunk.report.after.widths["3"] == 1
    with torch.no_grad():
        model[1].weight[0, 0, 0, 0] = float("nan")
    assert shrink(model, X).report.after.widths["3"] == 5
