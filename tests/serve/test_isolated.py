# SPDX-License-Identifier: Apache-2.0
"""The server as started with `--isolated` and with `--public-key`, over HTTP."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from edgeshift.portfolio import Portfolio, keys
from tests.portfolio.made import WEIGHT
from tests.serve.made import AUTHORISED, FACTORS, MODEL_AT, Process, body, portfolio, process

ROW = [[1.0, 0.0, 0.0]]


def right(name: str) -> list[float]:
    found: list[float] = (np.array(ROW, np.float32) @ WEIGHT * FACTORS[name]).ravel().tolist()
    return found


def asking(running: Process) -> httpx.Client:
    return httpx.Client(base_url=running.url, timeout=60)


def workers(parent: int) -> list[int]:
    """Processes started by another."""
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def test_a_variant_whose_process_is_killed_costs_no_request(tmp_path: Path) -> None:
    with (
        process(portfolio(tmp_path / "p"), tmp_path / "token", "--isolated") as running,
        asking(running) as client,
    ):
        for name in FACTORS:
            found = client.post(f"{MODEL_AT}/versions/{name}/infer", json=body(ROW)).json()
            assert found["outputs"][0]["data"] == right(name)
        assert client.post("/manage/pin", json={"variant": "large"}, headers=AUTHORISED).status_code == 200
        ours = workers(running.running.pid)
        assert len(ours) == 3
        answers = []
        for number in range(6):
            if number == 1:
                for pid in ours[1:]:
                    os.kill(pid, signal.SIGKILL)
            answer = client.post(f"{MODEL_AT}/infer", json=body(ROW))
            assert answer.status_code == 200
            found = answer.json()
            assert found["outputs"][0]["data"] == right(found["model_version"])
            answers.append(found["model_version"])
        assert answers[0] == "large"
        assert "small" in answers  # its process is the one that was left
        end = time.monotonic() + 60
        while time.monotonic() < end and answers[-1] != "large":
            answers.append(client.post(f"{MODEL_AT}/infer", json=body(ROW)).json()["model_version"])
            time.sleep(0.05)
        assert answers[-1] == "large"  # opened again, and pinned as before
        metrics = client.get("/metrics").text
        assert 'edgeshift_variant_failures_total{variant="large"} 1' in metrics


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A portfolio, signed by the key `k` beside it."""
    keys.new(tmp_path / "k")
    path = portfolio(tmp_path / "p")
    Portfolio.open(path).sign(tmp_path / "k")
    return path


def test_a_signed_portfolio_is_served_and_an_unsigned_reload_is_not(signed: Path) -> None:
    pinned = ("--public-key", str(signed.with_name("k.pub")), "--least-generation", "1")
    with process(signed, signed.with_name("token"), *pinned) as running, asking(running) as client:
        found = client.post(f"{MODEL_AT}/versions/large/infer", json=body(ROW)).json()
        assert found["outputs"][0]["data"] == right("large")
        Portfolio.open(signed).remeasured(Portfolio.open(signed).variants[0], ())
        answer = client.post("/manage/reload", json={}, headers=AUTHORISED)
        assert (answer.status_code, answer.json()["code"]) == (409, "too_old")
        Portfolio.open(signed).publish()
        answer = client.post("/manage/reload", json={}, headers=AUTHORISED)
        assert (answer.status_code, answer.json()["code"]) == (409, "bad_portfolio")
        Portfolio.open(signed).sign(signed.with_name("k"))
        answer = client.post("/manage/reload", json={}, headers=AUTHORISED)
        assert (answer.status_code, answer.json()["generation"]) == (200, 2)


@pytest.mark.parametrize(
    ("words", "want"),
    [
        (("--public-key", "other.pub"), "generation 1 must be signed by key"),
        (("--public-key", "nowhere.pub"), "key must be an existing file"),
        (("--least-generation", "2"), "must be at least 2 on this device, got 1"),
    ],
)
def test_what_must_not_be_served_is_one_line_and_2(signed: Path, words: tuple[str, str], want: str) -> None:
    keys.new(signed.with_name("other"))
    line = [sys.executable, "-m", "edgeshift", "serve", str(signed), "--port", "0", *words]
    done = subprocess.run(line, cwd=signed.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert want in done.stderr
    assert done.stderr.count("\n") == 1
