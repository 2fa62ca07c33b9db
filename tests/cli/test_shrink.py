# SPDX-License-Identifier: Apache-2.0
"""`edgeshift shrink` on an ONNX file."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeshift.formats import open_onnx
from tests.cli.typed import run


def write(path: Path) -> None:
    """Two convolutions; the first has one dead filter of four."""
    first = np.random.default_rng(0).uniform(0.2, 1, (4, 3, 3, 3)).astype(np.float32)
    first[2] = 0
    second = np.random.default_rng(1).uniform(0.2, 1, (2, 4, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "a"], ["h"]), helper.make_node("Conv", ["h", "b"], ["output"])],
        "two",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 6, 6])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2, 4, 4])],
        [numpy_helper.from_array(first, "a"), numpy_helper.from_array(second, "b")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `net.onnx`; the test stands in it."""
    write(tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_onnx_file_comes_out_smaller_and_equal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "shrink", "net.onnx", "--out", "small.onnx")
    assert (code, err) == (0, "")
    assert "parameters 116 -> 87 (1.33x smaller)" in out
    assert "Written: small.onnx" in out
    x = np.random.default_rng(2).standard_normal((5, 3, 6, 6)).astype(np.float32)
    large, small = (open_onnx(here / name).run(x) for name in ("net.onnx", "small.onnx"))
    np.testing.assert_allclose(small, large, rtol=1e-5)


def test_a_script_gets_the_report_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "shrink", "net.onnx", "--out", "small.onnx", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["after"]["widths"] == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["net.onnx", "--out", "net.onnx"], "out must be another file than the model, got net.onnx"),
        (["net.onnx", "--out", "small.safetensors"], "out must be an .onnx file, got 'small.safetensors'"),
        (["no.onnx", "--out", "small.onnx"], "ONNX file must be a file that exists, got 'no.onnx'"),
        (["bad.onnx", "--out", "small.onnx"], "ONNX file must be an ONNX model, got 'bad.onnx'"),
        (
            ["net.safetensors", "--out", "o.safetensors"],
            "--model must be the name of the checkpoint's model, got None",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    here: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "bad.onnx").write_bytes(b"no model at all")
    before = sorted(here.iterdir())
    assert run(capsys, "shrink", *words) == (2, "", f"edgeshift: {says}\n")
    assert sorted(here.iterdir()) == before
