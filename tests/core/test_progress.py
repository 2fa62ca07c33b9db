# SPDX-License-Identifier: Apache-2.0
from edgeshift.core.progress import Progress, Silent


def test_silent_can_stand_where_a_progress_is_wanted(capsys) -> None:  # type: ignore[no-untyped-def]
    progress: Progress = Silent()
    with progress.task("train", 3) as step:
        step()
        step(2, note="loss 0.1")
    progress.say("done")
    assert capsys.readouterr().out == ""
