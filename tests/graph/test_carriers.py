# SPDX-License-Identifier: Apache-2.0
"""One channel carries the constants of all others, for every reader of a stream."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeshift.graph import shrink, shrink_onnx
from tests.graph.onnx_graphs import model, node, numbers, run, shapes
from tests.graph.test_exact import kill, shrunk_is_equal

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Readers(nn.Module):
    """A stream that three branches read, each behind a norm of its own, as dense blocks do.

    Channels 0 to 2 are zero. Behind its norm and ReLU, the first branch sees only channel 0 above zero, the second
    only channel 1, the third channels 0 and 2.
    """

    SEEN = ((0.5, -1.0, -1.0), (-1.0, 0.7, -2.0), (0.25, -1.0, 1.5))

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stream = nn.Conv2d(3, 6, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in self.SEEN)
        self.convs = nn.ModuleList(nn.Conv2d(6, 2, 3, padding=1) for _ in self.SEEN)
        kill(self.stream, 0, 1, 2)
        with torch.no_grad():
            for norm, seen in zip(self.norms, self.SEEN, strict=True):
                norm.weight.uniform_(0.5, 1)
                norm.bias[:3] = torch.tensor(seen)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stream(x)
        return sum(conv(norm(x).relu()) for norm, conv in zip(self.norms, self.convs, strict=True))


def test_readers_behind_norms_of_their_own_share_one_carrier() -> None:
    network = Readers()
    shrunk = shrunk_is_equal(network, X)
    assert shrunk.model.stream.out_channels == 4
    # Channel 2 has the largest constant; the norms of the other two make of it what they saw of channels 0 and 1.
    assert [float(n.bias[0].detach()) for n in shrunk.model.norms] == pytest.approx([0.5, 0.7, 1.5])
    third = network.convs[2].weight
    torch.testing.assert_close(shrunk.model.convs[2].weight[:, 0], third[:, 2] + third[:, 0] / 6)
    torch.testing.assert_close(shrunk.model.convs[1].weight[:, 0], network.convs[1].weight[:, 1])


def test_a_carrier_that_was_seen_keeps_its_own_part() -> None:
    network = Readers()
    with torch.no_grad():
        network.norms[1].bias[2] = 0.1
        network.convs[1].weight[:, 2] = 0  # known, but not read, until the norm lifts it
    assert shrunk_is_equal(network, X).model.stream.out_channels == 4


def test_a_norm_that_others_see_is_left_alone() -> None:
    class Shared(Readers):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.norms[1](self.stream(x)).relu().amax((1, 2, 3), keepdim=True)

    network = Shared()
    shrunk = shrunk_is_equal(network, X)
    assert shrunk.model.stream.out_channels == 6  # the maximum is over all channels
    assert torch.equal(shrunk.model.norms[1].bias, network.norms[1].bias)


def test_a_norm_without_a_shift_of_its_own_cannot_be_changed() -> None:
    network = Readers()
    network.norms[1].bias = network.norms[0].bias
    assert shrink(network.eval(), X).model.stream.out_channels == 4
    network = Readers()
    network.norms[0] = network.norms[1]
    network.norms[2] = network.norms[1]  # every branch sees channel 1 alone
    assert shrunk_is_equal(network, X).model.stream.out_channels == 4


def test_constants_of_a_lifted_channel_are_equal_in_onnx() -> None:
    tensors = {"s": numbers(4, 3, 1, 1)}
    tensors["s"][:2] = 0
    nodes = [node("Conv", ["x", "s"], "h")]
    for k, seen in enumerate(((0.5, -1.0), (-1.0, 0.7))):
        tensors |= {
            f"g{k}": numbers(4, seed=k),
            f"m{k}": np.zeros(4, np.float32),
            f"v{k}": np.ones(4, np.float32),
        }
        tensors |= {f"b{k}": np.array([*seen, 0.1, 0.1], np.float32), f"w{k}": numbers(2, 4, 3, 3, seed=k)}
        nodes += [
            node("BatchNormalization", ["h", *(f"{p}{k}" for p in "gbmv")], f"n{k}"),
            node("Relu", [f"n{k}"], f"r{k}"),
            node("Conv", [f"r{k}", f"w{k}"], f"c{k}", pads=[1, 1, 1, 1]),
        ]
    proto = model([*nodes, node("Add", ["c0", "c1"], "y")], tensors)
    shrunk = shrink_onnx(proto)
    assert shapes(shrunk.model)["s"] == (3, 3, 1, 1)
    x = X.numpy()
    np.testing.assert_allclose(run(shrunk.model, x)[0], run(proto, x)[0], rtol=1e-5, atol=1e-5)
