# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeshift.core.errors import BadValue, EdgeShiftError, NotFinite
from edgeshift.core.values import (
    ChannelGroup,
    FileRef,
    Masks,
    Measurement,
    ModelRef,
    Proof,
    Variant,
    model_ref_from_json,
    to_json,
    variant_from_json,
)

FILE = FileRef("blobs/ab", "0" * 64, 12)
PROOF = Proof(1e-16, 1e-7, 8, ("random", "border"), 1e-9)
LATENCY = Measurement("latency", 1.5, "ms", batch_size=4, threads=2, repeats=10, p95=2.0, spread=0.1)
VARIANT = Variant(
    id="0123456789abcdef",
    name="level-1",
    files={"weights": FILE},
    recipe={"train": {"method": "iterative_magnitude", "version": 1, "options": {}}},
    accuracy={"validation": 0.5, "test": 0.25},
    parameters=10,
    macs=20,
    sparsity=0.5,
    widths={"conv1": 3},
    measurements=(LATENCY,),
    proof=PROOF,
)
MODEL = ModelRef("resnet20", 10, (3, 32, 32), {"shortcut": "A"}, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def masks(*arrays: Any) -> Masks:
    return Masks({str(i): np.array(a, dtype=bool) for i, a in enumerate(arrays)})


def test_masks_count_exactly() -> None:
    m = masks([1, 0, 0], [[1, 1], [0, 1]])
    assert (m.kept, m.total) == (4, 7)
    assert m.sparsity == 1 - 4 / 7


def test_no_mask_means_no_sparsity() -> None:
    assert Masks({}).sparsity == 0


def test_a_mask_of_floats_is_named() -> None:
    with pytest.raises(BadValue, match="mask of w must be bool, got 'float64'"):
        Masks({"w": np.ones(2)}).check()  # type: ignore[dict-item]


def test_a_group_counts_its_channels() -> None:
    rows = {"a": np.zeros((5, 1), dtype=np.int64), "b": np.zeros((5, 4), dtype=np.int64)}
    assert ChannelGroup("a", rows, 1.0).check().channels == 5


def test_a_group_of_unequal_channels_is_named() -> None:
    rows = {"a": np.zeros((5, 1), dtype=np.int64), "b": np.zeros((4, 1), dtype=np.int64)}
    with pytest.raises(BadValue, match="rows of g must be equally many channels, got"):
        ChannelGroup("g", rows, 1.0).check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "classes must be at least 2, got 1"),
        ({"input_shape": ()}, r"input_shape must be positive sizes .*, got \(\)"),
        ({"input_shape": (3, 0, 3)}, r"input_shape must be positive sizes .*, got \(3, 0, 3\)"),
        ({"std": (0.0, 1.0, 1.0)}, r"std must be above 0.*, got \(0.0, 1.0, 1.0\)"),
        ({"std": (1.0,)}, r"std must be above 0, one for each mean, got \(1.0,\)"),
    ],
)
def test_a_bad_model_reference_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        replace(MODEL, **change).check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "guessed"}, "kind must be one of measured, predicted, modelled, got 'guessed'"),
        ({"repeats": 0}, r"repeats, threads and batch_size must be from 1, got \(0, 2, 4\)"),
        ({"threads": 0}, r"must be from 1, got \(10, 0, 4\)"),
    ],
)
def test_a_bad_measurement_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        replace(LATENCY, **change).check()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_measurement_is_a_finite_number_from_zero(value: float) -> None:
    with pytest.raises(NotFinite, match="latency must be a finite number from 0, got "):
        replace(LATENCY, value=value).check()


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../a", "a/../../b", "a//b", "./a", "a\\b", "a/"])
def test_a_path_that_leaves_or_is_not_plain_is_refused(path: str) -> None:
    with pytest.raises(BadValue, match="path must be a relative path inside the portfolio, got "):
        replace(FILE, path=path).check()


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, "A" * 64])
def test_a_digest_is_64_hex_digits(digest: str) -> None:
    with pytest.raises(BadValue, match="sha256 must be 64 hex digits, got "):
        replace(FILE, sha256=digest).check()


def test_a_file_has_no_negative_size() -> None:
    with pytest.raises(BadValue, match="size_bytes must be 0 or more, got -1"):
        replace(FILE, size_bytes=-1).check()


@pytest.mark.parametrize("error", [1e-8, float("nan")])
def test_a_proof_above_its_tolerance_is_none(error: float) -> None:
    with pytest.raises(BadValue, match="max_error_float64 must be at most 1e-09, got "):
        replace(PROOF, max_error_float64=error).check()


def test_a_good_variant_is_itself() -> None:
    assert VARIANT.check() is VARIANT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "xyz"}, "variant id must be 16 hex digits, got 'xyz'"),
        ({"files": {}}, "files of level-1 must be at least one"),
        ({"accuracy": {"test": 1.5}}, r"accuracy of level-1 must be 0..1 on .*, got \{'test': 1.5\}"),
        ({"accuracy": {"test": float("nan")}}, "accuracy of level-1 must be 0..1"),
        ({"accuracy": {"holdout": 0.5}}, r"got \{'holdout': 0.5\}"),
        ({"sparsity": -0.1}, "sparsity must be 0..1, got -0.1"),
        ({"files": {"weights": replace(FILE, path="../x")}}, "path must be"),
        ({"measurements": (replace(LATENCY, kind="x"),)}, "kind must be"),
        ({"proof": replace(PROOF, max_error_float64=1.0)}, "max_error_float64 must be"),
    ],
)
def test_a_bad_variant_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        replace(VARIANT, **change).check()


def test_a_measurement_is_found_by_quantity_batch_and_threads() -> None:
    assert VARIANT.measured("latency", batch_size=4, threads=2) is LATENCY


def test_a_missing_measurement_is_named() -> None:
    with pytest.raises(BadValue, match=r"measurement of level-1 must be one of \['latency'\], got 'latency'"):
        VARIANT.measured("latency")


def test_a_variant_goes_through_json() -> None:
    assert variant_from_json(json.loads(json.dumps(to_json(VARIANT)))) == VARIANT


def test_a_model_reference_goes_through_json() -> None:
    assert model_ref_from_json(json.loads(json.dumps(to_json(MODEL)))) == MODEL


@pytest.mark.parametrize("field", list(to_json(VARIANT)))
def test_a_variant_without_a_field_is_refused(field: str) -> None:
    raw = to_json(VARIANT)
    del raw[field]
    with pytest.raises(BadValue, match="variant must be a record with the fields of Variant, got"):
        variant_from_json(raw)


@pytest.mark.parametrize("wrong", [None, 3, "x", [1]])
@pytest.mark.parametrize("field", ["files", "measurements", "proof", "accuracy"])
def test_a_variant_with_a_field_of_another_type_is_refused(field: str, wrong: Any) -> None:
    with pytest.raises(EdgeShiftError):
        variant_from_json({**to_json(VARIANT), field: wrong})


def test_a_variant_with_a_field_too_many_is_refused() -> None:
    with pytest.raises(BadValue, match="unexpected keyword argument 'mood'"):
        variant_from_json({**to_json(VARIANT), "mood": 1})


@pytest.mark.parametrize("change", [{"classes": 1}, {"mood": 1}, {"mean": None}])
def test_a_bad_model_record_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadValue, match="must be"):
        model_ref_from_json({**to_json(MODEL), **change})
