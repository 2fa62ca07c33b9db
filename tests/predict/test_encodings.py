# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edgeshift.predict.encodings import (
    CELL_FEATURES,
    canonical,
    cell_counts,
    cell_features,
    fbnet_features,
    live,
    pruned,
    twin,
)

# Operators: 0 none, 1 skip, 2 conv_1x1, 3 conv_3x3, 4 pool; edges 01 02 12 03 13 23.


def test_an_edge_that_leads_nowhere_is_not_live() -> None:
    assert live((3, 3, 0, 1, 0, 0)) == (0, 0, 0, 1, 0, 0)


def test_an_edge_that_nothing_reaches_is_not_live() -> None:
    assert live((0, 1, 0, 0, 3, 1)) == (0, 1, 0, 0, 0, 1)


def test_a_converter_keeps_a_dead_node_that_a_zero_is_added_into() -> None:
    assert pruned((3, 0, 0, 3, 0, 0)) == (3, 0, 0, 3, 0, 0)


def test_a_converter_drops_two_dead_nodes_that_no_zero_is_added_into() -> None:
    assert pruned((3, 3, 3, 3, 0, 0)) == (0, 0, 0, 3, 0, 0)


def test_a_cell_without_a_path_computes_nothing() -> None:
    assert canonical((3, 3, 0, 0, 0, 0)) == ""


def test_skips_vanish_from_what_a_cell_computes() -> None:
    assert canonical((1, 0, 0, 0, 3, 0)) == canonical((0, 0, 0, 3, 0, 0)) == "3(x)"


def test_twins_swap_the_middle_nodes_and_are_the_same_function() -> None:
    cell = (3, 4, 0, 1, 2, 1)
    assert twin(cell) == (4, 3, 0, 1, 1, 2)
    assert canonical(cell) == canonical((4, 3, 0, 1, 1, 2))


def test_tied_middle_nodes_have_no_twin() -> None:
    assert twin((3, 4, 1, 1, 2, 1)) is None


def test_341_of_the_15625_cells_compute_nothing() -> None:
    codes = np.stack(np.meshgrid(*[np.arange(5)] * 6, indexing="ij"), -1).reshape(-1, 6)
    found = [canonical(tuple(int(o) for o in code)) for code in codes]
    assert found.count("") == 341


def test_counts_of_a_chain_of_two_convolutions() -> None:
    # 0 -> 1 -> 3: two 3x3 convolutions, four edges of none, no sum, two deep.
    found = dict(zip(CELL_FEATURES, cell_counts((3, 0, 0, 0, 3, 0)), strict=True))
    assert (found["none"], found["conv_3x3"], found["add"], found["depth"]) == (4, 2, 0, 2)
    assert np.expm1(found["log_macs"]) == pytest.approx(7.78e6 + 15 * 2 * 9 * 16 * 16 * 32 * 32)


def test_every_view_brings_the_same_counts() -> None:
    names, features = cell_features(np.array([[3, 0, 0, 0, 3, 0]], np.int8))
    assert features.shape == (1, len(names)) == (1, 3 * len(CELL_FEATURES) + 30)


def test_an_fbnet_of_skips_has_its_skeleton_only() -> None:
    names, features = fbnet_features(np.full((1, 22), 8, np.int8))
    found = dict(zip(names, features[0], strict=True))
    # Places where a skip still changes channels or size run a 1x1 convolution: the first of stages 2 to 7.
    assert (found["count_skip"], found["depth"]) == (22, 6)
