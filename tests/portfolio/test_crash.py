# SPDX-License-Identifier: Apache-2.0
"""Killed or out of room at any point, a portfolio is the old one or the new one."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import edgeshift
from edgeshift.core.errors import DiskFull
from edgeshift.portfolio import Portfolio
from tests.portfolio.made import DATA, MODEL, RECIPE, draft, files

OURS = (
    str(Path(edgeshift.__file__).parent / "core" / "files.py"),
    str(Path(edgeshift.__file__).parent / "portfolio"),
)
KILLED = 77


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Do it in a child that dies, with no clean-up, before its n-th line in our files; whether it died."""
    child = os.fork()
    if child == 0:
        count = 0

        def at_line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal count
            if event == "line":
                count += 1
                if count == step:
                    os._exit(KILLED)
            return at_line

        def at_call(frame: FrameType, event: str, argument: Any) -> Any:
            return at_line if frame.f_code.co_filename.startswith(OURS) else None

        sys.settrace(at_call)
        try:
            act()
        except BaseException:
            os._exit(3)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


# Every 7th line from each start: the seven starts together try all lines.
STARTS = [1, 4, *(pytest.param(start, marks=pytest.mark.slow) for start in (2, 3, 5, 6, 7))]


@pytest.mark.parametrize("start", STARTS)
def test_killed_at_any_line_of_an_addition_it_holds_the_old_or_the_new(two: Portfolio, start: int) -> None:
    old, new = {"level-0", "level-1"}, {"level-0", "level-1", "level-2"}
    step, seen = start, []
    small = {"onnx": b"first file", "extra": b"second file"}
    while killed_at(step, lambda: Portfolio.open(two.path).add(draft("level-2"), small)):
        found = Portfolio.open(two.path)
        names = {v.name for v in found}
        assert names in (old, new)
        for variant in found:
            for role in variant.files:
                found.read(variant, role)
        seen.append(names == new)
        step += 7
    # Dying early leaves the old one, dying late the new one, and there is no way back.
    assert seen[0] is False
    assert seen == sorted(seen)
    assert {v.name for v in Portfolio.open(two.path)} == new


@pytest.mark.parametrize("start", [1, 3])
def test_killed_at_any_line_of_the_start_it_can_be_started_again(tmp_path: Path, start: int) -> None:
    step = start
    while killed_at(step, lambda: Portfolio.create(tmp_path / "p", MODEL, DATA, RECIPE)):
        if (tmp_path / "p" / "portfolio.json").exists():
            assert len(Portfolio.open(tmp_path / "p")) == 0
        step += 5
    assert len(Portfolio.create(tmp_path / "p", MODEL, DATA, RECIPE)) == 0


def test_after_a_kill_the_rest_is_swept(two: Portfolio) -> None:
    for step in range(1, 400, 40):
        killed_at(step, lambda: Portfolio.open(two.path).add(draft("level-2"), {"onnx": b"other"}))
    found = Portfolio.open(two.path)
    found.sweep()
    used = {f.sha256 for v in found for f in v.files.values()}
    assert {p.name for p in (two.path / "blobs").iterdir()} == used
    assert {p.name for p in two.path.iterdir()} == {"blobs", "portfolio.json"}


def test_kill_9_loses_no_acknowledged_variant(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from tests.portfolio.made import *\n"
        "p = Portfolio.create(Path(sys.argv[2]), MODEL, DATA, RECIPE)\n"
        "for n in range(len(p), 10_000):\n"
        "    p = p.add(draft(f'level-{n}'), {'onnx': str(n).encode()})\n"
        "    print(n + 1, flush=True)\n"
    ).replace("import *\n", "import *; from edgeshift.portfolio import Portfolio\n")
    root = str(Path(__file__).parents[2])
    acknowledged = 0
    for _ in range(3):
        command = [sys.executable, "-c", program, root, str(tmp_path / "p")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                acknowledged = int(line)
                if acknowledged % 7 == 6:
                    break
            time.sleep(0.003)
            child.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
        found = Portfolio.open(tmp_path / "p")
        assert len(found) >= acknowledged
        assert all(found.read(v, "onnx") == v.name.removeprefix("level-").encode() for v in found)


def calls_that_may_fail() -> Iterator[tuple[str, int]]:
    for name, times in (("fsync", 8), ("replace", 4), ("open", 4), ("fchmod", 3)):
        for which in range(times):
            yield name, which


@pytest.mark.parametrize(("name", "which"), calls_that_may_fail())
def test_a_full_disk_in_any_call_leaves_the_old_or_the_new(
    two: Portfolio, name: str, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = getattr(os, name), 0

    def failing(*given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == which + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given, **named)

    monkeypatch.setattr(os, name, failing)
    try:
        two.add(draft("level-2"), files(2))
        full = False
    except DiskFull:
        full = True
    monkeypatch.undo()
    assert full or count <= which
    names = {v.name for v in Portfolio.open(two.path)}
    assert names in ({"level-0", "level-1"}, {"level-0", "level-1", "level-2"})
    assert list(two.path.rglob(".part-*")) == []
    # Once there is room again, the same call goes through.
    assert len(Portfolio.open(two.path).add(draft("level-2"), files(2))) == 3


def test_a_limit_on_file_size_is_a_full_disk(two: Portfolio) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(DiskFull, match=r"disk must have room for .*blobs.*, got a full disk"):
            two.add(draft("level-2"), {"onnx": bytes(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert two.verify().variants == 2
    assert list(two.path.rglob(".part-*")) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; only root may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], capture_output=True, check=True)


def test_a_really_full_disk_leaves_nothing_half_written(small_disk: Path) -> None:
    portfolio = Portfolio.create(small_disk / "p", MODEL, DATA, RECIPE).add(draft("level-0"), files(0))
    with pytest.raises(DiskFull, match="got a full disk; free some space and resume"):
        portfolio.add(draft("level-1"), {"onnx": os.urandom(300_000)})
    assert list(small_disk.rglob(".part-*")) == []
    found = Portfolio.open(small_disk / "p")
    assert (len(found), found.verify().variants) == (1, 1)
    assert len(found.add(draft("level-1"), {"onnx": os.urandom(50_000)})) == 2


def test_a_disk_too_full_for_the_first_manifest_can_be_used_later(small_disk: Path) -> None:
    filler = small_disk / "filler"
    room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    filler.write_bytes(bytes(room))
    with pytest.raises(DiskFull):
        Portfolio.create(small_disk / "p", MODEL, DATA, RECIPE)
    filler.unlink()
    assert len(Portfolio.create(small_disk / "p", MODEL, DATA, RECIPE)) == 0
