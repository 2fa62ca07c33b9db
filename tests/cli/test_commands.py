# SPDX-License-Identifier: Apache-2.0
"""Every command on one small portfolio, as typed."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgeshift.formats import load
from edgeshift.models import build as build_model
from edgeshift.models import resolve
from tests.cli.typed import run

NETS = """
from torch import nn

def make(num_classes, width=8):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, num_classes))
"""
BUILD = ["build", "shown_nets:make", "--data", "bars.npz", "--levels", "1,0.4", "--epochs", "1", "--quick"]


def furnish(folder: Path) -> Path:
    """The user's code and data."""
    (folder / "shown_nets.py").write_text(NETS)
    source = np.random.default_rng(0)
    labels = np.arange(160) % 2
    pixels = (source.integers(0, 120, (160, 6, 6)) + 100 * labels[:, None, None]).astype(np.uint8)
    np.savez(folder / "bars.npz", images=pixels, labels=labels)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user's code, the data and a finished build in `out`."""
    folder = furnish(tmp_path_factory.mktemp("built"))
    command = [sys.executable, "-m", "edgeshift", *BUILD, "--out", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout)
    (folder / "errors.txt").write_text(done.stderr)
    return folder


@pytest.fixture
def here(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; the test stands in it."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "shown_nets", raising=False)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a command says to a script: JSON, and nothing on stderr."""
    code, out, err = run(capsys, *words, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_build_prints_the_table_and_one_next_command(built: Path) -> None:
    said = (built / "said.txt").read_text()
    assert "level-0" in said
    assert "level-1" in said
    assert said.endswith("Report: out/report.html (open it in a browser)\nNext:   edgeshift verify out\n")


def test_build_in_a_pipe_says_one_line_per_level(built: Path) -> None:
    lines = (built / "errors.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["level-0", "level-1"]


def test_build_leaves_the_report(built: Path) -> None:
    assert (built / "out" / "report.html").read_text().lower().startswith("<!doctype html>")


def test_build_tells_a_script_what_it_left(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, *BUILD, "--out", "out", "--resume")
    assert [variant["name"] for variant in found["variants"]] == ["level-0", "level-1"]
    assert set(found["front"]) <= {variant["id"] for variant in found["variants"]}


def test_a_taken_folder_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    says = "edgeshift: out must be a new or empty folder, got a build in out; go on with --resume\n"
    assert run(capsys, *BUILD, "--out", "out") == (2, "", says)


def test_an_unknown_model_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "build", "resnt20", "--data", "bars.npz", "--out", "new")
    says = "edgeshift: no model named 'resnt20'; did you mean 'resnet20'?\n"
    assert (code, out, err) == (2, "", says)


def test_verify_says_what_held(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "verify", "out")
    assert (code, err) == (0, "")
    assert "2 variants compute what their masked parent does" in out


def test_verify_tells_a_script(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "verify", "out")["proved"] == 2


def test_verify_of_a_spoilt_file_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blob = next((here / "out" / "blobs").iterdir())
    blob.chmod(0o644)
    blob.write_bytes(b"spoilt")
    code, out, err = run(capsys, "verify", "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "bytes, got 6" in err


def test_verify_of_no_portfolio_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "verify", ".")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "must hold a plain file portfolio.json, got none" in err


def test_bench_replaces_and_adds_figures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "bench", "out", "--batch-sizes", "1,4")
    for variant in found["variants"]:
        latencies = [m["batch_size"] for m in variant["measurements"] if m["quantity"] == "latency"]
        assert sorted(latencies) == [1, 4, 32]


def test_costs_writes_a_table_of_every_layer(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs = ("costs", "shown_nets:make", "--data", "bars.npz", "--out", "costs.json")
    code, out, _ = run(capsys, *costs)
    assert code == 0
    assert "8 x 8" in out
    assert set(told(capsys, *costs)["layers"]) == {"0.weight", "2.weight", "6.weight"}
    assert run(capsys, *costs, "--threads", "0")[0] == 2


def test_report_writes_where_it_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "report", "out", "--out", "page.html")
    assert (code, err) == (0, "")
    assert out.endswith("Written: page.html (open it in a browser)\n")
    assert (here / "page.html").stat().st_size > 1000


def sparse(path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint with three dead filters, written to a file."""
    model = build_model(resolve("shown_nets:make", classes=2, input_shape=(1, 6, 6)))
    state = model.state_dict()
    for name in ("0.weight", "0.bias"):
        state[name][:3] = 0
    save_file(state, path)
    return state


def test_shrink_writes_a_smaller_file_with_equal_outputs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = sparse(here / "sparse.safetensors")
    shape = ["--input-shape", "1,6,6", "--classes", "2"]
    code, out, err = run(
        capsys,
        "shrink",
        "sparse.safetensors",
        "--model",
        "shown_nets:make",
        *shape,
        "--out",
        "small.safetensors",
    )
    assert (code, err) == (0, "")
    assert "Written: small.safetensors" in out
    ref = resolve("shown_nets:make", classes=2, input_shape=(1, 6, 6))
    small, dense = load(here / "small.safetensors", lambda: build_model(ref)), build_model(ref)
    dense.load_state_dict(state)
    assert tuple(small.state_dict()["0.weight"].shape) == (5, 1, 3, 3)
    images = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(small(images), dense.eval()(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["net.onnx", "--out", "o.safetensors"],
            "--model must be left out for an .onnx file, got 'resnet20'",
        ),
        (["net.pt", "--out", "o.safetensors"], "checkpoint must be a .safetensors file, got 'net.pt'"),
        (["net.safetensors", "--out", "o.pt"], "out must be a .safetensors file, got 'o.pt'"),
        (
            ["net.safetensors", "--out", "o.safetensors"],
            "weights must be a safetensors file, got net.safetensors, which",
        ),
    ],
)
def test_what_cannot_be_shrunk_is_one_line(
    here: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "shrink", *words, "--model", "resnet20")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeshift", *BUILD, "--out", "out", "--epochs", "2000"]
    process = subprocess.Popen(
        command,
        cwd=furnish(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background of a script has told them to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + 300
    while not (tmp_path / "out" / "work" / "levels").exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)  # into the first epochs
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (130, "", "edgeshift: stopped; go on with --resume\n")
