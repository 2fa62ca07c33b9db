# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from edgeshift.cli import main
from edgeshift.core.values import Measurement, ModelRef, Proof
from edgeshift.portfolio import Draft, Portfolio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A portfolio of two variants and a trace of one request every 20 ms."""
    made = Portfolio.create(tmp_path / "p", ModelRef("toy", 2, (3,)), {}, {})
    for name, accuracy, ms in (("small", 0.6, 5.0), ("large", 0.9, 15.0)):
        latency = Measurement("latency", ms, "ms", p95=1.1 * ms)
        split = {"validation": accuracy, "test": accuracy - 0.1}
        proof = Proof(1e-12, 1e-7, 3, ("random",), 1e-9)
        draft = Draft(name, {}, split, 6, 6, 0.5, {"w": 2}, (latency,), proof)
        made = made.add(draft, {"weights": name.encode()})
    (tmp_path / "a.csv").write_text("t_ms\n" + "".join(f"{20 * i}\n" for i in range(200)))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    with pytest.raises(SystemExit) as end:
        main(["simulate", str(folder / "p"), "--trace", str(folder / "a.csv"), *words])
    out, err = capsys.readouterr()
    return int(str(end.value.code)), out, err


def test_json_tells_every_policy_beside_every_variant(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, folder, "--policy", "deadline,pi", "--seeds", "2", "--json")
    told = json.loads(out)
    assert (code, err, told["split"], told["best_static"]) == (0, "", "test", "large")
    assert [s["name"] for s in told["standings"]] == ["deadline", "pi"]
    assert [s["name"] for s in told["statics"]] == ["small", "large"]
    # What a policy sees is validation, what counts is test: nothing exceeds 0.8.
    assert told["standings"][0]["accuracy_on_time"]["mean"] <= told["bound"]["mean"] + 1e-9 <= 0.8 + 1e-6


def test_the_load_scales_the_rate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, folder, "--load", "1.5", "--seeds", "1", "--json")
    told = json.loads(out)
    assert told["load"] == pytest.approx(1.5, rel=0.01)
    assert told["standings"][0]["accuracy_on_time"]["half_width"] is None


def test_the_table_says_what_is_measured_and_what_is_modelled(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, folder, "--policy", "thermal", "-o", "thermal.hot_c=75", "--seeds", "1")
    assert code == 0
    assert "the best variant alone is large. Latencies measured, the replay modelled." in out
    assert "thermal sees temperature at 25 throughout; add --clock" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "deadlin"], "no policy named 'deadlin'; did you mean 'deadline'?"),
        (["--policy", ","], "--policy must be some of battery, deadline"),
        (["-o", "pi.target=1"], "--option must be policy.option=value of deadline, got 'pi.target'"),
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--load", "1", "--scale", "2"], "--load and --scale must be one of them, above 0, got (1.0, 2.0)"),
        (["--slower", "0"], "--slower must be a finite number above 0, got 0.0"),
        (["--start-s", "99"], "requests in the trace must be at least 1"),
        (
            ["--threads", "4"],
            "latency of small must be measured at batch size 1 on 4 threads; run edgeshift bench",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    code, _, err = run(capsys, folder, *words)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
