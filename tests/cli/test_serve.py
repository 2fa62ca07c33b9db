# SPDX-License-Identifier: Apache-2.0
"""`edgeshift serve`: what it says, and its exit codes; the server itself is in tests/serve."""

import subprocess
import sys

import pytest

from edgeshift.cli import main


def code(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(words))
    assert isinstance(left.value.code, int)
    return left.value.code


def test_help_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert code("serve", "--help") == 0
    text = capsys.readouterr().out
    for word in ("--host", "--port", "--deadline-ms", "--management-token-file", "--max-body-mb"):
        assert word in text


@pytest.mark.parametrize(
    ("words", "want"),
    [
        (["nowhere", "--port", "0"], "nowhere must hold a plain file portfolio.json"),
        (["nowhere", "--port", "-1"], "port must be 0 to 65535, got -1"),
        (["nowhere", "--max-body-mb", "0"], "body_bytes must be above 0 and finite, got 0"),
        (["nowhere", "--management-token-file", "no-such-file"], "a readable file of ASCII text"),
        (
            ["nowhere", "--port", "0", "--mode", "x"],
            "mode must be one of warm, neighbours, demand, views, got 'x'",
        ),
    ],
)
def test_a_wrong_start_is_one_line_and_2(
    words: list[str], want: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code("serve", *words) == 2
    said = capsys.readouterr().err
    assert want in said
    assert said.count("\n") == 1


def test_an_open_address_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert code("serve", "nowhere", "--host", "0.0.0.0", "--port", "0") == 2
    assert "warning: 0.0.0.0 is open to the network" in capsys.readouterr().err


def test_the_server_imports_no_torch() -> None:
    show = "import sys, edgeshift.serve; print([m for m in ('torch', 'onnx', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
