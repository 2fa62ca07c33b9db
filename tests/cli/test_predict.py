# SPDX-License-Identifier: Apache-2.0
"""The command `predict`, and the samples that `bench --for` leaves for it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeshift.cli import main
from edgeshift.portfolio import Portfolio
from edgeshift.predict.samples import Samples
from edgeshift.predict.table import read_table, write_table
from tests.portfolio.made import DATA, MODEL, RECIPE, WEIGHT, draft, files, onnx_bytes

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of a command."""

    def typed(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([*map(str, words)])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return typed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two variants of different width."""
    made = Portfolio.create(tmp_path / "p", MODEL, DATA, RECIPE)
    made = made.add(draft("level-0", 0.9, 4.0), files(0))
    wide = np.tile(WEIGHT, (1, 40))
    made.add(draft("level-1", 0.8, 1.0), {**files(1), "onnx": onnx_bytes(wide)})
    return tmp_path / "p"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sixty networks on five devices whose prices differ."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 20, (60, 2)).astype(float)
    cost = counts @ np.exp(rng.normal(0, 0.7, (2, 5)))
    names = tuple(f"chip{i}" for i in range(5))
    write_table(tmp_path / "t.npz", Samples(counts, cost, names, ("count_a", "count_b")))
    return tmp_path / "t.npz"


def test_a_profile_alone_models_every_variant(run: Run, folder: Path) -> None:
    code, out, _ = run("predict", folder, "--device", "raspberry-pi-4", "--json")
    found = json.loads(out)
    assert (code, found["device"]) == (0, "raspberry-pi-4")
    assert [v["kind"] for v in found["variants"]] == ["modelled", "modelled"]
    assert all(0 < v["low"] < v["latency_ms"] < v["high"] for v in found["variants"])


def test_people_get_a_table_and_its_source(run: Run, folder: Path) -> None:
    code, out, _ = run("predict", folder, "--device", "raspberry-pi-4")
    assert code == 0
    assert "modelled" in out
    assert out.rstrip().splitlines()[-1].startswith("From roofline")


def test_bench_for_a_name_makes_it_a_device_that_predict_knows(run: Run, folder: Path) -> None:
    assert run("bench", folder, "--batch-sizes", "1", "--for", "my-laptop", "--json")[0] == 0
    assert read_table(folder / "samples.npz").devices == ("my-laptop",)
    # A second session is appended, and the later time of a network counts.
    assert run("bench", folder, "--batch-sizes", "1", "--for", "my-laptop", "--json")[0] == 0
    samples = read_table(folder / "samples.npz")
    assert samples.cost.shape == (4, 1)
    code, out, _ = run("predict", folder, "--device", "my-laptop", "--model", "macs", "--json")
    found = json.loads(out)["variants"]
    assert code == 0
    assert [v["kind"] for v in found] == ["measured", "measured"]
    assert [v["latency_ms"] for v in found] == samples.cost[2:, 0].tolist()
    assert all(v["low"] == v["latency_ms"] == v["high"] for v in found)


def test_a_table_is_judged_on_its_held_out_device(run: Run, table: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    code, out, _ = run(
        "predict", "--table", table, "--hold-out", "chip4", "--samples", "5,10", "--seeds", "2", "--model",
        "count_ridge", "--how", "random", "--plot", plot, "--json",
    )  # fmt: skip
    found = json.loads(out)
    assert code == 0
    assert [line["samples"] for line in found["results"]] == [5, 10]
    assert len(found["results"][0]["seeds"]) == 2
    assert found["noise_ceiling"] is None
    assert plot.read_text().startswith("<svg")


def test_no_measurement_at_all_is_judged_too(run: Run, table: Path) -> None:
    words = ("--hold-out", "chip4", "--samples", "0", "--seeds", "1", "--model", "macs", "--json")
    code, _, err = run("predict", "--table", table, *words)
    assert code == 2
    assert "must be" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "want"),
    [
        (("--table", "{table}"), "--hold-out must be a device of the table"),
        (("--table", "{table}", "--hold-out", "chip9"), "device must be one of chip0, chip1"),
        (("--table", "{table}", "--hold-out", "chip4", "--seeds", "0"), "--seeds must be at least 1, got 0"),
        (("{folder}",), "DIR --device NAME, or --table FILE --hold-out DEVICE"),
        (("{folder}", "--device", "rasberry-pi-4"), "did you mean 'raspberry-pi-4'?"),
        (("{folder}", "--device", "this", "--level", "1"), "--level must be between 0 and 1"),
    ],
)
def test_what_is_missing_is_one_line_and_2(
    run: Run, folder: Path, table: Path, words: tuple[str, ...], want: str
) -> None:
    code, _, err = run("predict", *(w.format(folder=folder, table=table) for w in words))
    assert code == 2
    assert want in err
    assert err.count("\n") == 1
