# SPDX-License-Identifier: Apache-2.0
"""Several variants in one file, each a prefix of the largest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeshift.core.errors import BadPortfolio, BadValue, BadWeights
from edgeshift.formats.nested import Axis, Member, nested_bytes, open_nested, write_nested

SETS = dict[str, tuple[NDArray[np.int64], ...]]


def members(hidden: int, deep: int, keeps: list[tuple[set[int], set[int]]], seed: int = 0) -> list[Member]:
    """A convolution, a depthwise one, a norm and a layer that reads two features a channel, cut at each level.

    Args:
        hidden: Channels between the two layers.
        deep: Channels after the second.
        keeps: For each level the channels that stay of both.
    """
    source = np.random.default_rng(seed)
    whole = {
        "conv.weight": source.standard_normal((hidden, 3, 3, 3)).astype(np.float32),
        "depth.weight": source.standard_normal((hidden, 1, 3, 3)).astype(np.float32),
        "mix.weight": source.standard_normal((deep, hidden, 1, 1)).astype(np.float32),
        "fc.weight": source.standard_normal((4, 2 * deep)),
        "fc.bias": source.standard_normal(4),
        "tracked": np.array(7),
    }
    found = []
    for a, b in keeps:
        one, two = np.array(sorted(a), np.int64), np.array(sorted(b), np.int64)
        pairs = np.sort(np.concatenate([2 * two, 2 * two + 1]))
        kept: SETS = {
            "conv.weight": (one, np.arange(3), np.arange(3), np.arange(3)),
            "depth.weight": (one, np.arange(1), np.arange(3), np.arange(3)),
            "mix.weight": (two, one, np.arange(1), np.arange(1)),
            "fc.weight": (np.arange(4), pairs),
            "fc.bias": (np.arange(4),),
            "tracked": (),
            "bn.weight": (one,),
        }
        tensors: dict[str, NDArray[Any]] = {n: t[np.ix_(*kept[n])] if t.ndim else t for n, t in whole.items()}
        tensors["bn.weight"] = source.standard_normal(len(one)).astype(np.float32)
        found.append(Member(f"level-{len(found)}", tensors, kept))
    return found


THREE = [({0, 1, 2, 3, 4, 5}, {0, 1, 2, 3}), ({0, 2, 3, 5}, {1, 2, 3}), ({2, 5}, {3})]


@st.composite
def falling(draw: st.DrawFn) -> list[tuple[set[int], set[int]]]:
    """Nested sets of channels of two groups, one to five levels, never empty."""
    sizes = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    now = [set(range(size)) for size in sizes]
    found = [(set(now[0]), set(now[1]))]
    for _ in range(draw(st.integers(0, 4))):
        now = [set(draw(st.sets(st.sampled_from(sorted(one)), min_size=1))) for one in now]
        found.append((set(now[0]), set(now[1])))
    return found


@settings(deadline=None, max_examples=60)
@given(keeps=falling(), seed=st.integers(0, 1000))
def test_every_variant_comes_back_bit_for_bit(
    keeps: list[tuple[set[int], set[int]]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = members(max(keeps[0][0]) + 1, max(keeps[0][1]) + 1, keeps, seed)
    path = tmp_path_factory.mktemp("nested") / "n"
    write_nested(path, wanted)
    found = open_nested(path)
    assert found.variants == tuple(m.name for m in wanted)
    for number, member in enumerate(wanted):
        got = found.tensors(number)
        assert got.keys() == member.tensors.keys()
        for name, array in member.tensors.items():
            assert got[name].dtype == array.dtype
            assert got[name].shape == array.shape
            assert got[name].tobytes() == np.ascontiguousarray(array).tobytes()


@settings(deadline=None, max_examples=40)
@given(keeps=falling())
def test_what_a_variant_uses_are_whole_pieces_of_the_mapped_file(
    keeps: list[tuple[set[int], set[int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = members(max(keeps[0][0]) + 1, max(keeps[0][1]) + 1, keeps)
    path = tmp_path_factory.mktemp("nested") / "n"
    write_nested(path, wanted)
    found, data = open_nested(path), path.read_bytes()
    for number in range(len(wanted)):
        columns = 0
        for offset, piece in found.blocks("mix.weight", number):
            assert piece.flags.c_contiguous
            assert np.shares_memory(piece, found.data)
            assert data[offset : offset + piece.nbytes] == piece.tobytes()
            columns += piece.shape[1]
        assert (piece.shape[0], columns) == found.shape("mix.weight", number)[:2]


def test_the_order_of_the_file_puts_what_all_have_first(tmp_path: Path) -> None:
    write_nested(tmp_path / "n", members(6, 4, THREE))
    axis = open_nested(tmp_path / "n").axes["conv.weight"][0]
    # Channels 2 and 5 are in all three, 0 and 3 in two, 1 and 4 in one.
    assert axis.order.tolist() == [2, 5, 0, 3, 1, 4]
    assert axis.shells == [(2, 2), (1, 2), (0, 2)]
    assert [axis.size(k) for k in range(3)] == [6, 4, 2]


def test_numbers_that_all_share_lie_there_once(tmp_path: Path) -> None:
    one, three = members(64, 64, [(set(range(64)), set(range(64)))]), []
    whole = (set(range(64)), set(range(64)))
    three = members(64, 64, [whole, (set(range(48)), set(range(48))), (set(range(32)), set(range(32)))])
    # Two more norms of 48 and 32 channels, and what the index says.
    assert len(nested_bytes(three)) - len(nested_bytes(one)) < 4 * (48 + 32) + 800


def test_equal_variants_give_equal_bytes() -> None:
    assert nested_bytes(members(6, 4, THREE)) == nested_bytes(members(6, 4, THREE))


def test_files_come_back(tmp_path: Path) -> None:
    files = {"b": b"graph" * 500, "a": b"", "c": b"\x00\xff"}
    write_nested(tmp_path / "n", members(6, 4, THREE), files)
    assert open_nested(tmp_path / "n").files == files


def test_a_channel_that_the_larger_one_lacks_is_refused() -> None:
    with pytest.raises(BadWeights, match=r"axis 0 of conv.weight must be nested, got channel 1 "):
        nested_bytes(members(6, 4, [THREE[0], ({0, 2}, {1}), ({1}, {1})]))


def test_other_numbers_are_refused() -> None:
    made = members(6, 4, THREE)
    made[1].tensors["mix.weight"][0, 0] += 1  # type: ignore[index]
    with pytest.raises(BadWeights, match=r"mix\.weight must be shared by all variants, got .* in level-1"):
        nested_bytes(made)


def test_a_zero_of_another_sign_is_another_number() -> None:
    made = members(6, 4, THREE)
    made[0].tensors["mix.weight"][3, 2] = 0.0  # type: ignore[index]
    made[1].tensors["mix.weight"][2, 1] = -0.0  # type: ignore[index]
    with pytest.raises(BadWeights, match="got other numbers in level-1"):
        nested_bytes(made)


def test_a_shape_that_is_not_what_is_kept_is_refused() -> None:
    made = members(6, 4, THREE)
    made[2].tensors["conv.weight"] = np.zeros((3, 3, 3, 3), np.float32)  # type: ignore[index]
    with pytest.raises(
        BadWeights, match=r"conv.weight of level-2 must have shape \(2, 3, 3, 3\).*got \(3, 3, 3, 3\)"
    ):
        nested_bytes(made)


def test_a_tensor_that_some_lack_is_refused() -> None:
    made = members(6, 4, THREE)
    del made[1].tensors["fc.bias"]  # type: ignore[attr-defined]
    with pytest.raises(BadWeights, match=r"variants must have equal tensors, got fc\.bias in some"):
        nested_bytes(made)


@pytest.mark.parametrize("count", [0, 2])
def test_names_are_there_and_differ(count: int) -> None:
    with pytest.raises(BadValue, match="names of the variants must be one or more, all different"):
        nested_bytes(members(6, 4, THREE)[:1] * count)


def test_a_flipped_bit_of_a_number_is_found(tmp_path: Path) -> None:
    path = tmp_path / "n"
    write_nested(path, members(6, 4, THREE))
    data, start = path.read_bytes(), open_nested(path).start
    for at in range(start, len(data), 3):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        path.write_bytes(bytes(changed))
        found = open_nested(path)
        with pytest.raises(BadPortfolio, match="checksum of level-"):
            list(map(found.tensors, range(3)))


@pytest.mark.parametrize("left", [0, 1, 8, 100, 400, -1])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, left: int) -> None:
    path = tmp_path / "n"
    write_nested(path, members(6, 4, THREE))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(BadWeights, match=r"must (be a|have .* bytes)"):
        open_nested(path)


def test_no_change_of_the_index_ends_in_another_error(tmp_path: Path) -> None:
    path = tmp_path / "n"
    write_nested(path, members(6, 4, THREE), {"a": b"graph" * 9})
    data = path.read_bytes()
    source = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        changed = bytearray(data)
        changed[int(source.integers(0, open_nested(tmp_path / "n").start))] = int(source.integers(32, 127))
        other = tmp_path / "other"
        other.write_bytes(bytes(changed))
        try:
            found = open_nested(other)
            for number in range(len(found.variants)):
                found.tensors(number)
            assert found.files is not None
        except (BadWeights, BadPortfolio):
            refused += 1
    assert refused > 300


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n").write_bytes(b"x" * 100)
    with pytest.raises(BadWeights, match="n must be a safetensors file"):
        open_nested(tmp_path / "n")
    with pytest.raises(BadValue, match="nested file must be an existing file"):
        open_nested(tmp_path / "none")


def test_runs_of_an_axis_are_short() -> None:
    assert Axis(np.array([2, 2, 0, 1])).to_json() == [[2, 2], [0, 1], [1, 1]]
