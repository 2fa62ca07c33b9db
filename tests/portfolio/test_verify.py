# SPDX-License-Identifier: Apache-2.0
"""What a portfolio promises, and everything that must break the promise loudly."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeshift.core.errors import BadPortfolio
from edgeshift.core.recipe import canonical
from edgeshift.core.shape_plan import ShapePlan
from edgeshift.core.values import FileRef, Measurement, to_json, variant_from_json
from edgeshift.formats import tensor_bytes
from edgeshift.portfolio import Golden, Portfolio
from edgeshift.portfolio.manifest import digest
from tests.portfolio.made import ANSWER, INPUT, WEIGHT, draft, files, onnx_bytes, weight_file

Body = dict[str, Any]


def rewrite(portfolio: Portfolio, change: Callable[[Body], None], *, sealed: bool = True) -> None:
    """Change the manifest as an attacker who knows the format would, or one who does not."""
    path = portfolio.path / "portfolio.json"
    raw = json.loads(path.read_text())
    change(raw["body"])
    if sealed:
        raw["sha256"] = digest(raw["body"])
    path.write_text(json.dumps(raw))


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_whole_portfolio_holds(two: Portfolio) -> None:
    found = two.verify()
    assert (found.variants, found.files, found.opened, found.answers) == (2, 6, 2, 2)
    assert found.max_error <= 1e-6
    assert found.unchecked == ()
    assert found.size_bytes == sum(p.stat().st_size for p in (two.path / "blobs").iterdir())


def test_an_empty_portfolio_holds(empty: Portfolio) -> None:
    assert (empty.verify().variants, empty.verify().files) == (0, 0)


def test_what_could_not_be_checked_is_said(empty: Portfolio) -> None:
    made = empty.add(draft("a"), {"onnx": onnx_bytes()}).add(
        draft("b"), {"weights": tensor_bytes({"w": WEIGHT})}
    )
    found = made.verify()
    assert (found.opened, found.answers) == (1, 0)
    assert found.unchecked == (
        "answers of a: it has no golden pair",
        "shapes of b: it has no shape plan",
        "answers of b: it has no ONNX file",
    )
    assert "not checked: answers of a: it has no golden pair" in found.lines()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_in_any_file_is_found(two: Portfolio, data: st.DataObject) -> None:
    paths = sorted(two.path.rglob("*"), key=str)
    path = data.draw(st.sampled_from([p for p in paths if p.is_file()]))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) * 8 - 1))
    flipped = bytearray(whole)
    flipped[place // 8] ^= 1 << place % 8
    damage(path, bytes(flipped))
    try:
        with pytest.raises(BadPortfolio, match="must"):
            Portfolio.open(two.path).verify()
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("role", ["onnx", "weights", "golden", "log"])
def test_a_cut_file_is_found(two: Portfolio, role: str) -> None:
    path = two.path_of(two.variants[0], role)
    damage(path, path.read_bytes()[:-1])
    with pytest.raises(
        BadPortfolio, match=rf"variant level-0, {role}: blobs/.* must have \d+ bytes, got \d+"
    ):
        two.verify()


def test_the_number_of_other_findings_is_told(two: Portfolio) -> None:
    for path in (two.path / "blobs").iterdir():
        damage(path, b"")
    with pytest.raises(BadPortfolio, match=r"variant level-0, .* \(and 5 more\)$"):
        two.verify()


def test_a_missing_file_is_found(two: Portfolio) -> None:
    two.path_of(two.variants[1], "onnx").unlink()
    with pytest.raises(BadPortfolio, match=r"variant level-1, onnx: blobs/.* must be a plain file, got none"):
        two.verify()


def test_reading_compares_the_checksum(two: Portfolio) -> None:
    path = two.path_of(two.variants[0], "onnx")
    damage(path, path.read_bytes()[:-1] + b"!")
    with pytest.raises(BadPortfolio, match=r"checksum of blobs/.* must be .*\.\.\., got .*\.\.\."):
        two.read(two.variants[0], "onnx")


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "blobs/../../secret", "blobs\\x", "", "blobs/./x"]
)
def test_a_path_that_leaves_the_portfolio_is_refused(two: Portfolio, path: str) -> None:
    def change(body: Body) -> None:
        body["variants"][0]["files"]["onnx"]["path"] = path

    rewrite(two, change)
    with pytest.raises(BadPortfolio, match="path must be a relative path inside the portfolio, got"):
        Portfolio.open(two.path)


@pytest.mark.parametrize("path", ["portfolio.json", "report.html", "blobs/" + "0" * 64])
def test_a_path_of_another_file_is_refused(two: Portfolio, path: str) -> None:
    def change(body: Body) -> None:
        body["variants"][0]["files"]["onnx"]["path"] = path

    rewrite(two, change)
    found = Portfolio.open(two.path)
    with pytest.raises(BadPortfolio, match="path of a file must be blobs/<its sha256>, got"):
        found.path_of(found.variants[0], "onnx")
    with pytest.raises(BadPortfolio, match="path of a file must be blobs/<its sha256>, got"):
        found.verify()


def test_a_link_in_place_of_a_file_is_refused(two: Portfolio, tmp_path: Path) -> None:
    path = two.path_of(two.variants[0], "onnx")
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    for reading in (lambda: two.verify(), lambda: two.read(two.variants[0], "onnx")):
        with pytest.raises(BadPortfolio, match="must be a plain file, got a link or folder"):
            reading()


def test_a_link_in_place_of_the_folder_is_refused(two: Portfolio, tmp_path: Path) -> None:
    (two.path / "blobs").rename(tmp_path / "outside")
    (two.path / "blobs").symlink_to(tmp_path / "outside")
    with pytest.raises(BadPortfolio, match="blobs must be a folder inside the portfolio, got a link"):
        two.verify()


def test_a_link_in_place_of_the_manifest_is_refused(two: Portfolio, tmp_path: Path) -> None:
    (two.path / "portfolio.json").rename(tmp_path / "outside.json")
    (two.path / "portfolio.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(BadPortfolio, match=r"must hold a plain file portfolio.json, got none"):
        Portfolio.open(two.path)


def test_a_pipe_in_place_of_a_file_is_refused(two: Portfolio) -> None:
    path = two.path_of(two.variants[0], "onnx")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BadPortfolio, match="must be a plain file, got a link or folder"):
        two.verify()


def test_a_newer_format_is_refused_with_what_to_do(two: Portfolio) -> None:
    path = two.path / "portfolio.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    message = r"format of .*portfolio.json must be at most 1, got 2; update edgeshift to read it"
    with pytest.raises(BadPortfolio, match=message):
        Portfolio.open(two.path)


@pytest.mark.parametrize("version", [None, 0, "1", [], True, 1.0])
def test_another_format_is_refused(two: Portfolio, version: object) -> None:
    path = two.path / "portfolio.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": version}))
    with pytest.raises(BadPortfolio, match=r"must be a manifest of format 1, got format"):
        Portfolio.open(two.path)


def test_a_manifest_changed_by_hand_is_refused(two: Portfolio) -> None:
    def change(body: Body) -> None:
        body["variants"][0]["accuracy"]["test"] = 0.99

    rewrite(two, change, sealed=False)
    with pytest.raises(BadPortfolio, match=r"checksum of .*portfolio.json must be .*\.\.\., got"):
        Portfolio.open(two.path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        '"x"',
        "{}",
        '{"format": 1}',
        '{"format": 1, "body": []}',
        '{"format": 1, "body": {"data": Infinity}}',
        "[" * 100_000,
        "\ufeff{}",
    ],
)
def test_a_manifest_that_is_none_is_refused(two: Portfolio, text: str) -> None:
    (two.path / "portfolio.json").write_text(text)
    with pytest.raises(BadPortfolio, match="must be"):
        Portfolio.open(two.path)


@pytest.mark.parametrize("place", ["model", "data", "recipe", "variants"])
def test_a_missing_part_is_refused(two: Portfolio, place: str) -> None:
    rewrite(two, lambda body: body.pop(place))
    with pytest.raises(BadPortfolio, match="must be a manifest that edgeshift wrote, got"):
        Portfolio.open(two.path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=JSON)
def test_any_value_in_any_field_is_read_or_refused(
    two: Portfolio, data: st.DataObject, value: object
) -> None:
    path = two.path / "portfolio.json"
    before = path.read_bytes()
    field = data.draw(st.sampled_from(sorted(two.manifest.body()["variants"][0])))

    def change(body: Body) -> None:
        body["variants"][0][field] = value

    rewrite(two, change)
    try:
        with suppress(BadPortfolio):
            Portfolio.open(two.path)
    finally:
        path.write_bytes(before)


FIGURE = st.floats(0, 1e12)


@given(
    st.builds(
        Measurement,
        quantity=st.text(min_size=1),
        value=FIGURE,
        unit=st.sampled_from(["ms", "bytes"]),
        device=st.text(),
        batch_size=st.integers(1, 1 << 40),
        repeats=st.integers(1, 1 << 40),
        p95=st.none() | FIGURE,
        spread=st.none() | FIGURE,
    ),
    st.dictionaries(st.text(), st.integers(0, 1 << 60), max_size=4),
    st.floats(0, 1),
)
def test_a_variant_comes_back_from_json_as_it_was(
    measured: Measurement, widths: dict[str, int], share: float
) -> None:
    one = replace(draft(), measurements=(measured,), widths=widths, sparsity=share)
    made = one.with_files({"onnx": FileRef("blobs/" + "a" * 64, "a" * 64, 5)})
    assert variant_from_json(json.loads(canonical(to_json(made)))) == made


def test_weights_of_another_shape_than_the_plan_are_found(empty: Portfolio) -> None:
    made = empty.add(draft(), {**files(), "weights": weight_file(WEIGHT, (3, 1))})
    message = r"variant level-0: tensor w must have shape \(3, 1\) as in the shape plan, got \(3, 2\)"
    with pytest.raises(BadPortfolio, match=message):
        made.verify()


def test_a_plan_of_its_own_is_compared_too(empty: Portfolio) -> None:
    plan = json.dumps(ShapePlan({"gone": (2,)}).to_json()).encode()
    made = empty.add(draft(), {"weights": tensor_bytes({"w": WEIGHT}), "plan": plan})
    with pytest.raises(
        BadPortfolio, match=r"tensor gone must have shape \(2,\) as in the shape plan, got none"
    ):
        made.verify()


@pytest.mark.parametrize("plan", [b"", b"[]", b"{}", b'{"format": 9}'])
def test_a_plan_that_is_none_is_found(empty: Portfolio, plan: bytes) -> None:
    with pytest.raises(BadPortfolio, match=r"variant level-0: .*shape plan must be"):
        empty.add(draft(), {"weights": weight_file(), "plan": plan}).verify()


def test_a_file_that_onnx_runtime_refuses_is_found(empty: Portfolio) -> None:
    with pytest.raises(BadPortfolio, match="variant level-0: ONNX file must be"):
        empty.add(draft(), {"onnx": b"garbage"}).verify()


def test_another_answer_is_found(empty: Portfolio) -> None:
    wrong = WEIGHT.copy()
    wrong[2, 1] += 0.01
    made = empty.add(draft(), {**files(), "onnx": onnx_bytes(wrong)})
    with pytest.raises(
        BadPortfolio, match=r"relative error on the golden pair must be at most 0.0001, got 0.001"
    ):
        made.verify()


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (("onnx", "golden"), r"relative error on the golden pair must be at most 0.0001, got inf"),
        (("onnx",), "answer of the ONNX file must be finite for 2 inputs, got"),
    ],
)
def test_an_answer_that_is_not_finite_is_found(
    empty: Portfolio, roles: tuple[str, ...], message: str
) -> None:
    wrong = WEIGHT.copy()
    wrong[0, 0] = np.nan
    given_files = {**files(), "onnx": onnx_bytes(wrong)}
    with pytest.raises(BadPortfolio, match=message):
        empty.add(draft(), {role: given_files[role] for role in roles}).verify()


def test_a_golden_pair_of_another_shape_is_found(empty: Portfolio) -> None:
    pair = Golden(np.ones((1, 4), np.float32), np.ones((1, 2))).to_bytes()
    with pytest.raises(
        BadPortfolio, match=r"variant level-0: shape of the input must be \(batch, 3\), got \(1, 4\)"
    ):
        empty.add(draft(), {"onnx": onnx_bytes(), "golden": pair}).verify()


@pytest.mark.parametrize(
    "pair", [b"", tensor_bytes({"input": INPUT}), tensor_bytes({"input": INPUT, "output": ANSWER})]
)
def test_a_golden_pair_that_is_none_is_found(empty: Portfolio, pair: bytes) -> None:
    with pytest.raises(BadPortfolio, match="golden pair must be an input and an output, got"):
        empty.add(draft(), {"onnx": onnx_bytes(), "golden": pair}).verify()


def test_a_portfolio_changed_since_it_was_read_is_said(two: Portfolio) -> None:
    two.add(draft("level-2"), files(2))
    with pytest.raises(BadPortfolio, match="must be as it was read, got another manifest; open it again"):
        two.verify()
