# SPDX-License-Identifier: Apache-2.0
"""Networks of bench/networks, exported by both of torch's exporters, lose in ONNX what they lose in torch."""

import io
import logging
import warnings
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto
from torch import Tensor, nn

from bench.networks import find, make, names, plant_
from edgeshift.core.errors import NoEffect
from edgeshift.graph import shrink, shrink_onnx
from tests.graph.onnx_graphs import run, shapes, stored

QUICK = (
    "micro.cat", "micro.channel_shuffle", "micro.channel_slice", "micro.chunk_split_add", "micro.conv3d",
    "micro.depthwise", "micro.flatten_linear", "micro.gated_mlp", "micro.group_normed", "micro.gru",
    "micro.grouped", "micro.nhwc_linear", "micro.pixel_shuffled", "micro.prelu", "micro.shared_conv",
    "micro.squeeze_excited", "micro.transposed", "micro.two_inputs", "micro.two_outputs",
)  # fmt: skip
# What one of the exporters has no operator for, and where the ONNX graph lets more go than the user's code.
NO_EXPORT = {("micro.rms_normed", "script")}
SMALLER = {"micro.weight_normed", "swin_tiny"}


def export(network: nn.Module, example: tuple[Tensor, ...], exporter: str) -> ModelProto:
    """The network as ONNX."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # both exporters warn about their own parts
        if exporter == "script":
            file = io.BytesIO()
            torch.onnx.export(network.eval(), example, file, dynamo=False, opset_version=17)
            return onnx.load_from_string(file.getvalue())
        program = torch.onnx.export(network.eval(), example, dynamo=True, verbose=False)
        assert program is not None
        return program.model_proto


def floats(proto: ModelProto) -> dict[str, tuple[int, ...]]:
    """Float initialisers of at least one axis; zero states of recurrent layers, which are the default, left out."""
    kinds = {t.name: t.data_type for t in proto.graph.initializer}
    found = {n: s for n, s in shapes(proto).items() if s and kinds[n] == onnx.TensorProto.FLOAT}
    return {n: s for n, s in found.items() if stored(proto, n).any()}


def check(name: str, share: float, exporter: str) -> None:
    """Shrink the network in both worlds and compare answers, shapes and numbers."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    network, example = make(name, small=True)
    try:
        plant_(network, find(name).sites, share)
    except NoEffect:
        pytest.skip(f"{name} is too narrow for a share of {share}")
    small = shrink(network, example).model
    original, wanted = export(network, example, exporter), export(small, example, exporter)
    shrunk = shrink_onnx(original)
    inputs = [x.numpy() for x in example]
    for a, b in zip(run(original, *inputs), run(shrunk.model, *inputs), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * float(np.abs(a).max(initial=1e-30)))
    got, want = floats(shrunk.model), floats(wanted)
    if name in SMALLER:
        assert sum(map(np.prod, got.values())) <= sum(map(np.prod, floats(original).values()))
        return
    assert not Counter(want.values()) - Counter(got.values())
    common = (
        set(got) & set(want) & {n for n, _ in network.named_parameters()}
    )  # exports number all others anew
    assert {n: got[n] for n in common} == {n: want[n] for n in common}
    for tensor in common:
        np.testing.assert_allclose(stored(shrunk.model, tensor), stored(wanted, tensor), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", QUICK)
def test_the_same_channels_go_in_onnx_as_in_torch(name: str) -> None:
    check(name, 0.3, "script")


@pytest.mark.slow
@pytest.mark.parametrize(("share", "exporter"), [(0.3, "dynamo"), (0.6, "script"), (0.9, "dynamo")])
@pytest.mark.parametrize("name", names())
def test_every_network_loses_in_onnx_what_it_loses_in_torch(name: str, share: float, exporter: str) -> None:
    if (name, exporter) in NO_EXPORT:
        pytest.skip(f"torch cannot export {name} by {exporter}")
    check(name, share, exporter)
