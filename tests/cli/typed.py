# SPDX-License-Identifier: Apache-2.0
"""A command as typed."""

import pytest

from edgeshift.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as end:
        main(list(words))
    out, err = capsys.readouterr()
    return int(str(end.value.code)), out, err
