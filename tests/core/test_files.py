# SPDX-License-Identifier: Apache-2.0
import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeshift.core.errors import BadPortfolio, DiskFull
from edgeshift.core.files import read_json, sha256_file, sync_folder, whole_file, write_bytes, write_json


def stop_within(path: Path, error: BaseException) -> None:
    """Write half a file, then raise."""
    with whole_file(path) as file:
        file.write(b"half")
        raise error


# tmp_path is shared between hypothesis examples on purpose: each one overwrites the last file.
shared_folder = settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(leaves, lambda c: st.lists(c) | st.dictionaries(st.text(), c), max_leaves=8)


@shared_folder
@given(data=st.binary(max_size=2000))
def test_bytes_come_back_equal(tmp_path: Path, data: bytes) -> None:
    write_bytes(tmp_path / "a.bin", data)
    assert (tmp_path / "a.bin").read_bytes() == data


@shared_folder
@given(value=values)
def test_json_comes_back_equal(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


def test_equal_values_write_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    write_json(tmp_path / "b.json", {"a": 2, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x" / "y" / "a", b"1")
    assert (tmp_path / "x" / "y" / "a").read_bytes() == b"1"


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        stop_within(tmp_path / "a", KeyError("stop"))
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_keeps_the_old_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(KeyboardInterrupt):
        stop_within(tmp_path / "a", KeyboardInterrupt())
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"1")
    (tmp_path / "b").write_bytes(b"1")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_nothing_is_at_the_path_before_the_block_ends(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a") as file:
        file.write(b"1")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path: Path, code: int) -> None:
    with pytest.raises(DiskFull, match=r"disk must have room for .*weights, got a full disk"):
        stop_within(tmp_path / "weights", OSError(code, os.strerror(code)))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_at_fsync_is_a_full_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="free some space and resume"):
        write_bytes(tmp_path / "a", b"1")
    assert list(tmp_path.iterdir()) == []


def test_another_os_error_keeps_its_class(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output") as caught:
        stop_within(tmp_path / "a", OSError(errno.EIO, "Input/output error"))
    assert not isinstance(caught.value, DiskFull)


def test_a_real_size_limit_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys, pathlib; from edgeshift.core.files import write_bytes;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "write_bytes(pathlib.Path(sys.argv[1]), b'x' * 100_000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a")], capture_output=True, text=True
    )
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_at_the_path(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib; from edgeshift.core.files import whole_file\n"
        "with whole_file(pathlib.Path(sys.argv[1])) as f:\n"
        "    f.write(b'half'); f.flush(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], capture_output=True)
    assert not (tmp_path / "a").exists()


def test_digest_is_that_of_hashlib(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("text", ["", "{", "\x00"])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(BadPortfolio, match=r"m\.json must be JSON, got: "):
        read_json(tmp_path / "m.json")


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BadPortfolio, match=r"m\.json must be JSON, got: "):
        read_json(tmp_path / "m.json")


def test_a_folder_can_be_synced(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    assert tmp_path.is_dir()
