# SPDX-License-Identifier: Apache-2.0
"""Exit codes and the one line on stderr."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

import edgeshift
from edgeshift.cli import app as application
from edgeshift.core.errors import NotExact
from tests.cli.typed import run


def failing(error: BaseException) -> object:
    """A command that raises."""

    def command(words: list[str], **_: object) -> None:
        raise error

    return command


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"edgeshift {edgeshift.__version__}\n", "")


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "edgeshift", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"edgeshift {edgeshift.__version__}\n")


def test_no_words_teach(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert "edgeshift build resnet8 --data digits" in out


@pytest.mark.parametrize("command", ["build", "shrink", "bench", "report", "verify", "list"])
def test_the_help_of_every_command_holds_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f" edgeshift {command} " in out.split("Examples")[1]


@pytest.mark.parametrize(
    ("words", "starts", "command"),
    [
        (["bild"], "No such command 'bild'. Did you mean 'build'?", "edgeshift"),
        (["build", "x"], "Missing option '--data'", "edgeshift build"),
        (["build"], "Missing argument", "edgeshift build"),
        (["list", "--shelves"], "No such option: --shelves", "edgeshift list"),
        (
            ["build", "x", "--data", "y", "--out", "z", "--epochs", "few"],
            "Invalid value for '--epochs'",
            "edgeshift build",
        ),
    ],
)
def test_bad_usage_is_one_line(
    words: list[str], starts: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"edgeshift: {starts}")
    assert err.endswith(f"; see {command} --help\n")


def test_our_fault_saves_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(application, "app", failing(RuntimeError("no such luck")))
    code, out, err = run(capsys, "list")
    assert (code, out) == (1, "")
    assert err.startswith("edgeshift: our fault: RuntimeError: no such luck; traceback saved in ")
    saved = Path(err.split(" saved in ")[1].strip())
    assert "Traceback (most recent call last)" in saved.read_text()
    saved.unlink()


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(application, "app", failing(RuntimeError("no such luck")))
    code, _, err = run(capsys, "list", "--debug")
    assert code == 1
    assert "Traceback (most recent call last)" in err


def test_a_broken_promise_is_our_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(application, "app", failing(NotExact("outputs must be equal, got 0.1 apart")))
    code, _, err = run(capsys, "build", "x")
    assert code == 1
    Path(err.split(" saved in ")[1].strip()).unlink()


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(application, "app", failing(OSError(errno.ENOSPC, "No space left on device")))
    code, out, err = run(capsys, "build", "x")
    assert (code, out) == (2, "")
    assert err == "edgeshift: disk must have room, got a full disk; free some space, then --resume\n"


def test_a_folder_without_rights_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        application, "app", failing(PermissionError(errno.EACCES, "Permission denied", "/no"))
    )
    code, _, err = run(capsys, "build", "x")
    assert (code, err) == (2, "edgeshift: /no must be open to you, got: Permission denied\n")


@pytest.mark.parametrize(
    ("command", "says"),
    [("build", "edgeshift: stopped; go on with --resume\n"), ("verify", "edgeshift: stopped\n")],
)
def test_ctrl_c_is_one_line(
    command: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(application, "app", failing(KeyboardInterrupt()))
    assert run(capsys, command) == (130, "", says)


def test_a_reader_that_goes_away_is_no_error() -> None:
    line = f"{sys.executable} -m edgeshift list | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_flows_into_a_narrow_terminal_and_examples_keep_their_lines() -> None:
    prose, examples = application.flowing("""One line.

        A sentence that is
        wrapped here.

        [bold]Examples[/bold]

          one --with
          two
        """).split("[bold]Examples[/bold]")
    assert prose == "One line.\n\nA sentence that is wrapped here.\n\n"
    assert examples == "\n\n  one --with\n  two"
