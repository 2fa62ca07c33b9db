# SPDX-License-Identifier: Apache-2.0
"""The whole line on 36-pixel images: what it leaves, what it goes on from, what it refuses."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgeshift.core.errors import (
    BadData,
    BadPortfolio,
    BadValue,
    BadWeights,
    FolderTaken,
    NotFinite,
    UnknownName,
    Untraceable,
)
from edgeshift.core.files import read_json
from edgeshift.derive import Job, build, verify
from edgeshift.derive.folder import LEVELS, WORK
from edgeshift.formats import load, open_onnx
from edgeshift.graph import count
from edgeshift.models import build as build_model
from edgeshift.models import example
from edgeshift.portfolio import Draft, Portfolio

NETS = """
import torch
from torch import nn

def make(num_classes, width=8):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, num_classes))

class Forks(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x.flatten(1)[:, :2]
        return -x.flatten(1)[:, :2]

def forks(num_classes):
    return Forks()
"""
FILES = ("weights", "onnx", "masked", "golden")


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bars across (class 0) and down (class 1) under noise."""
    source = np.random.default_rng(0)
    pixels = source.integers(0, 120, (count, 1, 6, 6))
    labels = np.arange(count) % 2
    for image, label, place in zip(pixels, labels, source.integers(0, 6, count), strict=True):
        line = image[0] if label else image[0].T
        line[place] = 255
    return pixels.astype(np.uint8), labels


def furnish(folder: Path) -> Path:
    """The user's code and data."""
    (folder / "own_nets.py").write_text(NETS)
    pixels, labels = images(200)
    np.savez(folder / "bars.npz", images=pixels, labels=labels)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the user's code and data; the test stands in it."""
    monkeypatch.chdir(furnish(tmp_path))
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished build."""
    folder = furnish(tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delitem(sys.modules, "own_nets", raising=False)
        build(job(folder))
    return folder / "out"


@pytest.fixture
def portfolio(here: Path, finished: Path) -> Portfolio:
    """A copy of the finished build, to look at or to spoil."""
    shutil.copytree(finished, here / "out")
    return Portfolio.open(here / "out")


def job(here: Path, out: str = "out", **options: object) -> Job:
    """Three levels of a few steps each."""
    base = Job(
        model="own_nets:make",
        data="bars.npz",
        out=here / out,
        levels=(1.0, 0.6, 0.3),
        train_options={"batch_size": 32, "bf16": "off"},
        epochs=2,
        threads=1,
        batch_sizes=(1,),
        quick=True,
    )
    return replace(base, **options)  # type: ignore[arg-type]


def content(portfolio: Portfolio) -> list[tuple[str, str, list[str]]]:
    """What must not depend on when a build was stopped: names, ids and checksums."""
    return [(v.name, v.id, [v.files[role].sha256 for role in FILES]) for v in portfolio]


def test_every_level_becomes_a_variant_that_answers(portfolio: Portfolio) -> None:
    assert [v.name for v in portfolio] == ["level-0", "level-1", "level-2"]
    for variant in portfolio:
        assert set(variant.files) == {*FILES, "log"}
        assert set(variant.accuracy) == {"validation", "test"}
        assert {m.quantity for m in variant.measurements} >= {"latency", "peak_memory", "file_size"}
        answer = open_onnx(portfolio.read(variant, "onnx")).run(np.zeros((3, 1, 6, 6), np.float32))
        assert answer.shape == (3, 2)


def test_the_portfolio_says_what_its_data_was(portfolio: Portfolio) -> None:
    assert portfolio.data["name"] == "bars"
    assert portfolio.data["classes"] == ["0", "1"]
    assert sum(portfolio.data["images"].values()) == 200


def test_variants_get_smaller_from_level_to_level(portfolio: Portfolio) -> None:
    sizes = [v.parameters for v in portfolio]
    assert sizes[0] == sum(p.numel() for p in build_model(portfolio.model).parameters())
    assert sizes[0] > sizes[1] > sizes[2]


def test_exactness_is_proved_again(portfolio: Portfolio) -> None:
    checked = verify(portfolio)
    assert (checked.proved, checked.unproved) == (3, ())
    assert checked.max_error_float64 <= 1e-9


def test_a_variant_counts_as_its_stored_model_does(portfolio: Portfolio) -> None:
    variant = portfolio.variants[2]
    model = load(portfolio.path_of(variant, "weights"), lambda: build_model(portfolio.model))
    counted = count(model, example(portfolio.model))
    assert (variant.parameters, variant.macs) == (counted.parameters, counted.macs)
    assert variant.parameters == sum(p.numel() for p in model.parameters())


def test_equal_jobs_leave_equal_variants(here: Path, portfolio: Portfolio) -> None:
    assert content(build(job(here, "again"))) == content(portfolio)


def test_another_seed_leaves_other_variants(here: Path, portfolio: Portfolio) -> None:
    other = build(job(here, "other", levels=(1.0,), seed=1))
    assert other.variants[0].id != portfolio.variants[0].id


def test_a_finished_build_is_not_measured_again(here: Path, portfolio: Portfolio) -> None:
    assert build(job(here, resume=True)).variants == portfolio.variants


def test_at_the_end_all_are_measured_in_turns_once(here: Path, portfolio: Portfolio) -> None:
    done = build(job(here, resume=True, quick=False))
    assert read_json(here / "out" / WORK / "measured.json") == [v.id for v in portfolio]
    assert content(done) == content(portfolio)
    for before, after in zip(portfolio, done, strict=True):
        assert after.measured("latency").repeats > before.measured("latency").repeats
    assert build(job(here, resume=True, quick=False)).variants == done.variants


PROGRAM = """
from pathlib import Path
from edgeshift.derive import Job, build

build(Job("own_nets:make", "bars.npz", Path("killed"), levels=(1.0, 0.6, 0.3), epochs=2, quick=True,
          threads=1, batch_sizes=(1,), resume=True, train_options={"batch_size": 32, "bf16": "off"}))
"""


def start(here: Path) -> "subprocess.Popen[bytes]":
    """The build in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=here, stderr=subprocess.DEVNULL)


def kill_when(process: "subprocess.Popen[bytes]", there: Path, limit_s: float = 300) -> None:
    """Kill -9 as soon as a file is there."""
    end = time.monotonic() + limit_s
    while not there.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert there.exists()


def test_killed_twice_it_goes_on_to_the_same_bytes(here: Path, portfolio: Portfolio) -> None:
    for stage in ("level-00.json", "level-01.json"):
        kill_when(start(here), here / "killed" / WORK / LEVELS / stage)
        assert len(Portfolio.open(here / "killed")) < 3  # whatever was happening, what is there opens
    resumed = build(job(here, "killed", resume=True))
    assert content(resumed) == content(portfolio)
    assert verify(resumed).proved == 3


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"model": "own_nets:mke"}, UnknownName, "no factory in own_nets named 'mke'; did you mean 'make'"),
        ({"model": "resnt20"}, UnknownName, "no model named 'resnt20'; did you mean 'resnet20'"),
        ({"data": "digts"}, UnknownName, "named 'digts'; did you mean 'digits'"),
        ({"method": "one_shto"}, UnknownName, "no method named 'one_shto'; did you mean 'one_shot'"),
        ({"settings": "digit"}, UnknownName, "no settings named 'digit'; did you mean 'digits'"),
        ({"levels": (0.5, 0.1)}, BadValue, r"first level must be 1.0, .*, got 0.5"),
        (
            {"method_options": {"power": 2}},
            BadValue,
            "option of iterative_magnitude must be one of .*'power'",
        ),
        ({"train_options": {"rate": 1}}, BadValue, "training option must be one of .*, got 'rate'"),
        (
            {"train_options": {"lr": "high"}},
            BadValue,
            r"of the right types \(lr: float\), got .*'lr': 'high'",
        ),
        ({"model": "own_nets:forks"}, Untraceable, r"own_nets.py"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(
    here: Path, options: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        build(job(here, **options))
    assert "\n" not in str(caught.value)
    assert not (here / "out").exists()


def weights(portfolio: Portfolio, **changed: torch.Tensor) -> Path:
    """The trained dense weights as a file, some of them changed."""
    dense = portfolio.variants[0]
    model = load(portfolio.path_of(dense, "weights"), lambda: build_model(portfolio.model))
    save_file({**model.state_dict(), **changed}, "w.safetensors")
    return Path("w.safetensors")


def test_weights_that_do_not_fit_are_named_with_both_shapes(here: Path, portfolio: Portfolio) -> None:
    path = weights(portfolio, **{"0.weight": torch.zeros(4, 1, 3, 3)})
    with pytest.raises(BadWeights, match=r"0\.weight must have shape \(8, 1, 3, 3\).*, got \(4, 1, 3, 3\)"):
        build(job(here, "new", weights=path))
    assert not (here / "new").exists()


def test_weights_with_nan_are_named(here: Path, portfolio: Portfolio) -> None:
    path = weights(portfolio, **{"3.bias": torch.full((8,), float("nan"))})
    with pytest.raises(NotFinite, match=r"3\.bias must be finite"):
        build(job(here, "new", weights=path))
    assert not (here / "new").exists()


def test_trained_weights_are_level_zero(here: Path, portfolio: Portfolio) -> None:
    new = build(job(here, "new", levels=(1.0, 0.5), weights=weights(portfolio)))
    assert new.variants[0].files["onnx"].sha256 == portfolio.variants[0].files["onnx"].sha256


@pytest.mark.parametrize(
    ("pixels", "labels", "error", "says"),
    [
        (np.zeros((0, 1, 6, 6), np.uint8), np.zeros(0, np.int64), BadData, "at least one image"),
        (images(60)[0], np.zeros(60, np.int64), BadData, "at least 2 classes"),
        (np.full((60, 1, 6, 6), np.nan, np.float32), np.arange(60) % 2, NotFinite, "must be finite, got NaN"),
    ],
)
def test_data_that_cannot_be_used_is_one_line(
    here: Path, pixels: np.ndarray, labels: np.ndarray, error: type[Exception], says: str
) -> None:
    np.savez(here / "bad.npz", images=pixels, labels=labels)
    with pytest.raises(error, match=says):
        build(job(here, data="bad.npz"))
    assert not (here / "out").exists()


def test_a_folder_with_something_else_is_left_alone(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(FolderTaken, match=r"got .*out with 'thesis.txt' in it"):
        build(job(here))
    assert [p.name for p in (here / "out").iterdir()] == ["thesis.txt"]


def test_a_build_with_other_options_does_not_go_on(here: Path, portfolio: Portfolio) -> None:
    with pytest.raises(
        BadValue, match=r"training.seed of the build in .*out must be 0 as when it began, got 1"
    ):
        build(job(here, seed=1, resume=True))


def test_other_levels_are_another_build(here: Path, portfolio: Portfolio) -> None:
    with pytest.raises(
        BadValue, match=r"levels of the build in .* must be \[1.0, 0.6, 0.3\] as when it began"
    ):
        build(job(here, levels=(1.0, 0.5), resume=True))


def test_a_changed_file_is_found(portfolio: Portfolio) -> None:
    path = portfolio.path_of(portfolio.variants[0], "masked")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BadPortfolio, match=r"variant level-0, masked: checksum of blobs/"):
        verify(portfolio)


def test_a_variant_that_computes_something_else_is_found(portfolio: Portfolio) -> None:
    dense, small = portfolio.variants[0], portfolio.variants[2]
    files = {role: portfolio.read(small, role) for role in small.files}
    files["masked"] = portfolio.read(dense, "masked")  # another parent, under a right checksum
    facts = {field.name: getattr(small, field.name) for field in fields(Draft)}
    forged = portfolio.add(Draft(**{**facts, "name": "forged"}), files)
    with pytest.raises(
        BadPortfolio, match=r"variant forged must be what its parent shrinks to, got another \S+"
    ):
        verify(forged)


def test_a_factory_that_is_gone_is_said_not_hidden(here: Path, portfolio: Portfolio) -> None:
    (here / "own_nets.py").unlink()
    sys.modules.pop("own_nets", None)
    checked = verify(portfolio)
    assert checked.proved == 0
    assert checked.unproved[0].startswith("level-0: no module named 'own_nets'")
    assert checked.lines()[-1].startswith("not proved again: level-2: no module named")
