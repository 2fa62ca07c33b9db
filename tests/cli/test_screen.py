# SPDX-License-Identifier: Apache-2.0
import sys

import pytest

from edgeshift.cli.screen import Screen, seconds_left


class Terminal:
    """A stderr that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_lines_and_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    with screen.task("training", 2) as step:
        step()
        screen.say("half way")
        step(note="loss 0.1")
    assert capsys.readouterr() == ("", "half way\n")


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=True)
    with screen.task("training", 1) as step:
        step()
        screen.say("done")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with screen.task("training", 4) as step:
        step(2, note="loss 0.1")
        screen.say("half way")
    assert "training" in terminal.text
    assert "half way" in terminal.text
    assert "2/4" in terminal.text
    assert "-:--" in terminal.text  # time left, not known before the first step
    assert " left" in terminal.text


def test_tasks_stand_inside_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with screen.task("levels", 1) as outer:
        with screen.task("epochs", 1) as inner:
            inner()
        outer()
    assert "levels" in terminal.text
    assert "epochs" in terminal.text


@pytest.mark.parametrize(
    ("elapsed", "told", "done", "total", "left"),
    [
        (10, 10, 2.5, 10, 30),
        (14, 10, 2.5, 10, 26),  # 4 s without news
        (90, 10, 2.5, 10, 0),  # longer than foretold
        (10, 10, 10, 10, 0),
        (10, 0, 0, 10, None),
    ],
)
def test_time_left_follows_the_pace_so_far(
    elapsed: float, told: float, done: float, total: float, left: float | None
) -> None:
    assert seconds_left(elapsed, told, done, total) == left
