# SPDX-License-Identifier: Apache-2.0
"""What is known of a network, against networks counted by hand."""

import math

import numpy as np
import pytest

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.formats.onnx_write import OnnxWriter
from edgeshift.predict.network import COUNT_NAMES, KERNEL_COLUMNS, Network, Node, counts
from edgeshift.predict.onnx_network import network_of


def residual(*, dead: bool = False) -> bytes:
    """conv(3->4) relu, conv(4->4), add, relu, mean, linear(4->2) on 8 x 8 pixels."""
    writer = OnnxWriter()

    def weight(*shape: int) -> str:
        return writer.constant(np.full(shape, 0.1, np.float32))

    def conv(value: str, out: int, inner: int) -> str:
        return writer.node("Conv", [value, weight(out, inner, 3, 3)], kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    first = writer.node("Relu", [conv(writer.input("x", ["batch", 3, 8, 8]), 4, 3)])
    if dead:
        writer.node("Sigmoid", [first])
    both = writer.node("Relu", [writer.node("Add", [conv(first, 4, 4), writer.node("Identity", [first])])])
    flat = writer.node("Flatten", [writer.node("GlobalAveragePool", [both])], axis=1)
    writer.output(writer.node("Gemm", [flat, weight(2, 4)], transB=1), ["batch", 2])
    return writer.model()


def test_macs_and_parameters_are_those_of_the_layers() -> None:
    network = network_of(residual())
    # 64 pixels: 4*3*9 + 4*4*9 weights each, then 2*4.
    assert (network.macs, network.parameters) == (64 * 108 + 64 * 144 + 8, 108 + 144 + 8)


def test_a_batch_multiplies_work_and_leaves_parameters() -> None:
    one, four = network_of(residual()), network_of(residual(), 4)
    assert (four.macs, four.parameters) == (4 * one.macs, one.parameters)


def test_dead_operators_and_identities_are_left_out() -> None:
    ops = [node.op for node in network_of(residual(dead=True)).nodes]
    assert ops == ["Conv", "Relu", "Conv", "Add", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]


def test_activations_and_the_addition_run_with_the_convolution_before_them() -> None:
    kernels = network_of(residual()).kernels
    shown = [(k.head.op, [n.op for n in k.tail], k.inputs) for k in kernels]
    assert shown == [
        ("Conv", ["Relu"], (-1,)),
        ("Conv", ["Add", "Relu"], (0,)),
        ("GlobalAveragePool", [], (1,)),
        ("Flatten", [], (2,)),
        ("Gemm", [], (3,)),
    ]


def test_bytes_of_a_kernel_are_its_inputs_weights_and_output() -> None:
    first = network_of(residual()).kernels[0]
    assert (first.bytes_read, first.bytes_written) == (4 * (3 * 64 + 108), 4 * 4 * 64)


def test_the_peak_is_input_and_both_sides_of_the_widest_kernel() -> None:
    # 768 bytes of input, which the caller keeps, and two values of 1024.
    assert network_of(residual()).peak_bytes == 768 + 1024 + 1024


def test_constants_are_folded_and_count_as_weights() -> None:
    writer = OnnxWriter()
    x = writer.input("x", ["batch", 2, 4, 4])
    whole, scale = writer.constant(np.ones((3, 2, 1, 1), np.int8)), writer.constant(np.array(0.5, np.float32))
    weight = writer.node("DequantizeLinear", [whole, scale])
    writer.output(writer.node("Conv", [x, weight], kernel_shape=[1, 1]), ["batch", 3, 4, 4])
    network = network_of(writer.model())
    assert [node.op for node in network.nodes] == ["Conv"]
    assert (network.parameters, network.weight_bytes) == (6, 6)


def test_counts_name_kinds_depth_and_logs() -> None:
    names, values = counts(network_of(residual()))
    found = dict(zip(names, values.tolist(), strict=True))
    assert names == COUNT_NAMES
    assert (found["count_conv_3x3"], found["count_activation"], found["count_kernels"]) == (2, 2, 5)
    assert found["depth"] == 5
    assert found["log_macs"] == pytest.approx(math.log1p(64 * 252 + 8))


def test_kernel_rows_have_a_column_for_each_name() -> None:
    rows = network_of(residual()).kernel_rows
    assert rows.shape == (5, len(KERNEL_COLUMNS))
    assert rows[1, KERNEL_COLUMNS.index("adds")] == 1


@pytest.mark.parametrize(("groups", "kind"), [(1, "conv_3x3"), (2, "grouped"), (4, "depthwise")])
def test_convolutions_are_told_apart_by_their_groups(groups: int, kind: str) -> None:
    assert Node("Conv", (-1,), (1, 4, 8, 8), (1, 4, 8, 8), kernel=(3, 3), groups=groups).kind == kind


def test_an_operator_that_reads_a_later_one_is_refused() -> None:
    node = Node("Relu", (0,), (1, 4), (1, 4), into=0)
    with pytest.raises(BadValue, match=r"inputs of operator 0 of x must be earlier operators, got \(0,\)"):
        Network("x", (node,), (1, 4)).check()


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(BadPortfolio, match="ONNX file must"):
        network_of(b"\x0a\x03abc")


def test_sizes_that_stay_open_are_refused() -> None:
    writer = OnnxWriter()
    writer.output(writer.node("Relu", [writer.input("x", ["batch", "time"])]), ["batch", "time"])
    with pytest.raises(BadValue, match="sizes of input x must be fixed but for the first; pass sizes"):
        network_of(writer.model())
    assert network_of(writer.model(), sizes={"x": (1, 7)}).input_shape == (1, 7)
