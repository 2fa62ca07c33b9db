# SPDX-License-Identifier: Apache-2.0
"""The probe's cases and what it reads off their times."""

import itertools

import numpy as np
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.devices.cases import OPS, Case, Layer, again, conv, grid, model
from edgeshift.devices.probe import Row, probe, rounding, row_json, summary
from edgeshift.formats import open_onnx


def test_work_and_bytes_of_a_layer_are_those_counted_by_hand() -> None:
    layer = conv(16, 8, 4)
    assert (layer.macs, layer.parameters) == (16 * 8 * 16 * 9, 8 * (16 * 9 + 1))
    assert layer.moved_bytes == 4 * (16 * 16 + 8 * 16 + layer.parameters)


def test_a_strided_layer_halves_its_side() -> None:
    assert (conv(16, 16, 9, stride=2).out_side, Layer("gap", 8, 8, 7).out_side) == (5, 1)


@pytest.mark.parametrize("op", OPS)
def test_every_operator_is_in_the_grid(op: str) -> None:
    assert any(case.rest[0].op == op for case in grid())


@pytest.mark.parametrize("quick", [True, False])
def test_every_chain_fits_together(quick: bool) -> None:
    for case in grid(quick=quick):
        chain = case.first + case.rest
        for before, after in itertools.pairwise(chain):
            assert (before.out_channels, before.out_side) == (after.in_channels, after.side)


CASES = (
    again(conv(5, 5, 6)),
    again(Layer("linear", 7, 7)),
    again(Layer("add", 3, 3, 4)),
    again(Layer("maxpool", 3, 3, 4, 3)),
    Case((conv(4, 4, 7, 3, 2, 4),), (conv(4, 4, 4, 3, 2, 4),)),
    Case((Layer("relu", 6, 6, 4),), (Layer("gap", 6, 6, 4),)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rest[0].op)
def test_a_chain_runs_and_gives_the_last_layers_size(case: Case) -> None:
    last = case.rest[-1]
    session = open_onnx(model(case.first + case.rest))
    answer = session.run(np.ones((2, *session.input_shape), np.float32))
    sizes = (
        (2, last.out_channels)
        if last.op == "linear"
        else (2, last.out_channels, last.out_side, last.out_side)
    )
    assert answer.shape == sizes


@pytest.mark.parametrize("step", [4, 8, 16])
def test_the_step_of_a_vector_is_found(step: int) -> None:
    rows = []
    for c in (4, 8, 12, 15, 16, 17, 20, 24, 28, 32, 40, 48, 64):
        up = -(-c // step) * step
        rows.append(Row((conv(c, c, 16),) * 2, 0.002 + up * up * 1e-5, 0.0, 2, 20))
    assert rounding(rows) == step


def test_exact_widths_have_no_step() -> None:
    rows = [
        Row((conv(c, c, 16),) * 2, 0.002 + c * c * 1e-5, 0.0, 2, 20) for c in (4, 8, 12, 15, 16, 17, 20, 24)
    ]
    assert rounding(rows) == 1


def test_the_summary_names_peak_bandwidth_and_launch() -> None:
    fast, copy = conv(16, 16, 8), Layer("relu", 64, 64, 64)
    rows = [Row((fast, fast), 0.01, 0.1, 2, 9), Row((copy,), 1.0, 0.3, 2, 9)]
    found = summary(rows)
    assert found["peak_gmacs"] == pytest.approx(2 * fast.macs / 0.01 / 1e6, rel=1e-3)
    assert found["bandwidth_gbs"] == pytest.approx(copy.moved_bytes / 1e6, abs=1e-3)
    assert (found["launch_us"], found["spread"]) == (5.0, 0.2)


def test_a_row_is_json_with_its_layers() -> None:
    raw = row_json(Row((conv(3, 4, 5),), 0.123456, 0.1234, 2, 9))
    assert (raw["ms"], raw["spread"], raw["layers"][0]["out_channels"]) == (0.12346, 0.123, 4)


@pytest.mark.slow
def test_a_short_probe_gives_a_profile_that_checks() -> None:
    found = probe("here", seconds=1, quick=True)
    assert len(found.probe["rows"]) == len(grid(quick=True))
    assert found.peak_gmacs > 0
    assert all(row["ms"] > 0 and row["visits"] >= 2 for row in found.probe["rows"])


def test_a_probe_without_time_is_refused() -> None:
    with pytest.raises(BadValue, match="seconds must be above 0, got 0"):
        probe(seconds=0)
