# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's arena, planned for networks small enough to plan by hand."""

import pytest

from edgeshift.predict.arena import Arena, Optimised, Pattern, arena_bytes, share
from edgeshift.predict.network import Network, Node
from tests.predict.made import chain

# Weights of a product from 16 channels of 8 x 8 to 10 numbers, packed in columns of 16.
PACKED = 4 * 16 * 16 * 64


def test_two_convolutions_in_blocks_share_two_buffers() -> None:
    # Each 16 * 64 floats; the change back to plain layout takes the first one's buffer. The output takes 256 more.
    assert arena_bytes(chain("x", (16, 16), side=8)) == PACKED + 2 * 4096 + 256


def test_a_batch_multiplies_buffers_and_leaves_weights() -> None:
    assert arena_bytes(chain("x", (16, 16), side=8), 2) == PACKED + 2 * 8192 + 256


def test_a_width_of_no_multiple_of_four_unrolls_outside_of_blocks() -> None:
    # 18 channels are padded to 32 (8192 bytes), changed back (4608), and the last convolution's 4096 bytes fit where
    # the first's were: a block of 12800, and 64 KiB while it unrolls.
    assert arena_bytes(chain("x", (18, 16), side=8)) == PACKED + 12800 + 65536


def test_blocks_of_eight_pad_less() -> None:
    # 24 channels instead of 32: 6144 and 4608.
    assert arena_bytes(chain("x", (18, 16), side=8), block=8) == PACKED + 10752 + 65536


def test_a_piece_less_than_twice_too_large_is_given_whole() -> None:
    arena = Arena()
    arena.take(0, 600_000)
    assert arena.in_use == 1 << 20
    arena.take(1, 300)
    assert arena.in_use == (1 << 20) + 512


def test_free_neighbours_are_one_piece_again() -> None:
    arena = Arena()
    for key in (0, 1):
        arena.take(key, 256)
    arena.free(0)
    arena.free(1)
    arena.take(2, 1 << 20)
    assert arena.peak == 1 << 20


def test_a_region_that_is_too_small_is_followed_by_one_of_the_next_power_of_two() -> None:
    arena = Arena()
    arena.take(0, 3 << 20)
    # 4 MiB, less than twice 3.
    assert arena.in_use == 4 << 20


def test_a_buffer_takes_the_tightest_open_gap() -> None:
    pattern = Pattern()
    for key, size in enumerate((100, 50, 100)):
        pattern.take(key, size)
    pattern.free(1)
    pattern.take(3, 40)
    assert pattern.size == 250
    # 10 are left of the gap.
    pattern.take(4, 20)
    assert pattern.size == 270


def node(op: str, *inputs: int, weights: int = 0) -> Node:
    """On 16 channels of 8 x 8."""
    shape = (1, 16, 8, 8)
    return Node(op, inputs, (1, 3, 8, 8) if inputs == (-1,) else shape, shape, 0, weights, 0, 4096, (3, 3))


def built(*nodes: Node) -> Optimised:
    """With 3 channels in."""
    return Optimised(Network("x", nodes, (1, 3, 8, 8), 768), 16)


def test_equal_operators_run_once() -> None:
    twice = built(
        node("Conv", -1, weights=9), node("AveragePool", 0), node("AveragePool", 0), node("Add", 1, 2)
    )
    # Convolution, pool, addition, the change back.
    assert len(twice.order()) == 4


def test_an_activation_and_an_addition_are_part_of_the_convolution() -> None:
    later = [node("Conv", i, weights=9) for i in (1, 2)]
    found = built(node("Conv", -1, weights=9), node("Relu", 0), *later, node("Add", 3, 1))
    order = found.order()
    # Three convolutions and the change back; the third adds into the first one's buffer.
    assert len(order) == 4
    assert share(found.steps, order, found.outputs).owner[order[2]] == order[0]


@pytest.mark.parametrize("again", [False, True])
def test_an_activation_overwrites_what_nobody_reads_after_it(*, again: bool) -> None:
    more = [node("Add", 2, 1)] if again else []
    found = built(node("Conv", -1, weights=9), node("AveragePool", 0), node("Relu", 1), *more)
    pool, relu = found.made[1, True], found.made[2, True]
    owner = share(found.steps, found.order(), found.outputs).owner
    # Else it takes the convolution's buffer, which is free by then.
    assert owner[relu] == (found.made[0, True] if again else pool)
