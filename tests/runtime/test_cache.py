# SPDX-License-Identifier: Apache-2.0
"""Built files: private, whole, checked, refused when they are damaged or for another CPU."""

import json
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeshift.core.errors import BadDigest, BadPortfolio, BadValue, DiskFull
from edgeshift.core.files import json_bytes
from edgeshift.portfolio import Portfolio
from edgeshift.runtime import Engine
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.cache import LONGEST, Cache, checked, cpu_features
from tests.portfolio.made import INPUT, onnx_bytes
from tests.runtime.made import expected

KEY = "0" * 64


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "c")


def written(folder: Path, entry: dict[str, Any]) -> None:
    """An entry under a right checksum."""
    (folder / f"{entry['key']}.json").write_bytes(json_bytes({**entry, "check": checked(entry)}))


def built(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.bin"))


def test_the_folder_is_private(cache: Cache) -> None:
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir(mode=0o755)
    with pytest.raises(BadValue, match=r"cache must be a folder of mode 700, yours, got '.*, mode 755'"):
        Cache(tmp_path / "c")


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "c").symlink_to(tmp_path / "real")
    with pytest.raises(BadValue, match="cache must be a folder of mode 700"):
        Cache(tmp_path / "c")


def test_what_was_built_is_found(cache: Cache) -> None:
    path = cache.build(KEY, Onnxruntime(), onnx_bytes())
    assert cache.find(KEY) == path
    assert Cache(cache.folder).find(KEY) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_what_was_not_built_is_not_found(cache: Cache) -> None:
    assert cache.find(KEY) is None


def test_a_dropped_entry_is_not_found_and_its_file_stays_for_those_who_map_it(cache: Cache) -> None:
    path = cache.build(KEY, Onnxruntime(), onnx_bytes())
    cache.drop(KEY)
    assert cache.find(KEY) is None
    assert path.exists()


def test_the_key_depends_on_the_model_the_level_and_the_backend(cache: Cache) -> None:
    keys = {
        cache.key("a" * 64, Onnxruntime()),
        cache.key("b" * 64, Onnxruntime()),
        cache.key("a" * 64, Onnxruntime("extended")),
    }
    assert len(keys) == 3


def test_the_key_depends_on_the_cpu(cache: Cache, tmp_path: Path) -> None:
    other = Cache(cache.folder)
    other._features = ("x86_64", "avx512f")
    assert cache.key("a" * 64, Onnxruntime()) != other.key("a" * 64, Onnxruntime())


def test_cpu_features_are_those_that_kernels_depend_on(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("flags\t: fpu avx2 avx512f aes\n\nflags\t: fpu avx2\n")
    found = cpu_features(tmp_path)
    assert {"avx2", "avx512f"} <= set(found)
    assert {"fpu", "aes"} & set(found) == set()


@pytest.mark.parametrize("change", ["flip", "truncate", "grow", "gone", "link"])
def test_a_damaged_file_is_refused(cache: Cache, change: str) -> None:
    path = cache.build(KEY, Onnxruntime(), onnx_bytes())
    data = path.read_bytes()
    path.unlink()
    if change == "flip":
        path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    elif change == "truncate":
        path.write_bytes(data[:-1])
    elif change == "grow":
        path.write_bytes(data + b"\0")
    elif change == "link":
        (cache.folder / "elsewhere").write_bytes(data)
        path.symlink_to(cache.folder / "elsewhere")
    with pytest.raises(BadPortfolio, match=r"of the cache must|of a cached file must"):
        Cache(cache.folder).find(KEY)


@pytest.mark.parametrize(
    "entry", ["", "[]", "{}", '{"sha256": "../../etc/passwd"}', '{"sha256": "%s", "key": "x"}' % ("0" * 64)]
)
def test_a_damaged_entry_is_refused(cache: Cache, entry: str) -> None:
    (cache.folder / f"{KEY}.json").write_text(entry)
    with pytest.raises(BadPortfolio, match="must"):
        cache.find(KEY)


def test_an_entry_without_its_last_newline_is_refused(cache: Cache) -> None:
    cache.build(KEY, Onnxruntime(), onnx_bytes())
    entry = cache.folder / f"{KEY}.json"
    entry.write_bytes(entry.read_bytes()[:-1])
    with pytest.raises(BadPortfolio, match="entry of the cache must be as it was written, got other bytes"):
        cache.find(KEY)


def test_a_file_changed_after_it_was_checked_is_checked_again(cache: Cache) -> None:
    path = cache.build(KEY, Onnxruntime(), onnx_bytes())
    path.chmod(0o600)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(BadPortfolio, match="checksum of a cached file"):
        cache.find(KEY)


def test_old_halves_of_files_are_swept_and_fresh_ones_left(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir(mode=0o700)
    old, fresh = folder / ".part-old", folder / ".part-fresh"
    old.touch()
    fresh.touch()
    os.utime(old, (1, 1))
    Cache(folder)
    assert (old.exists(), fresh.exists()) == (False, True)


def test_a_damaged_cache_is_built_again_and_said(three: Portfolio) -> None:
    with Engine(three.path) as engine:
        before = engine.ready(0).note
    for path in built(three.path / ".cache"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 255]))
    with Engine(three.path) as engine:
        assert before == ""
        assert "cached file refused: checksum" in engine.ready(2).note
        np.testing.assert_array_equal(engine.run(INPUT, "large").outputs["output"], expected("large"))


def test_a_built_file_that_answers_wrongly_is_refused_and_built_again(three: Portfolio) -> None:
    # What a file built on another CPU does: whole, checksum right, key right, numbers wrong.
    with Engine(three.path) as engine:
        assert engine.ready(2).note == ""
    cache = Cache(three.path / ".cache")
    key = {n: cache.key(three.find(n).files["onnx"].sha256, Onnxruntime()) for n in ("small", "large")}
    entry = json.loads((cache.folder / f"{key['small']}.json").read_text())
    written(cache.folder, {**entry, "key": key["large"]})
    with Engine(three.path) as engine:
        note = engine.ready(2).note
        assert "cached file refused: relative error of large in its self test must be at most 0.0001" in note
        np.testing.assert_array_equal(engine.run(INPUT, "large").outputs["output"], expected("large"))


def test_a_second_start_opens_what_the_first_one_built(three: Portfolio) -> None:
    for _ in range(2):
        with Engine(three.path) as engine:
            assert {engine.ready(i).source for i in range(3)} == {"cache"}
    assert len(built(three.path / ".cache")) == 3


@dataclass(frozen=True)
class NoRoom(Onnxruntime):
    """A device without a free block."""

    def build(self, onnx: bytes, target: Path) -> None:
        raise DiskFull("disk must have room, got a full disk")


def test_without_room_for_a_cache_the_portable_file_is_served_and_said(three: Portfolio) -> None:
    with Engine(three.path, backend=NoRoom()) as engine:
        assert engine.ready(2).source == "onnx"
        assert "not cached: disk must have room" in engine.ready(2).note
        np.testing.assert_array_equal(engine.run(INPUT, "large").outputs["output"], expected("large"))


def test_a_cache_can_lie_outside_of_a_portfolio_that_is_read_only(three: Portfolio, tmp_path: Path) -> None:
    with Engine(three.path, cache=tmp_path / "c") as engine:
        assert engine.run(INPUT).variant == "large"
    assert not (three.path / ".cache").exists()
    shutil.rmtree(tmp_path / "c")


def aged(folder: Path, seconds: float = 3600) -> None:
    """Make everything in a cache look as if it was last used so long ago."""
    for path in folder.iterdir():
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


@dataclass(frozen=True)
class Newer(Onnxruntime):
    """The same backend after an update."""

    @property
    def runtime(self) -> str:
        return "onnxruntime 99.0.0"


def test_files_of_an_older_runtime_are_swept(cache: Cache) -> None:
    cache.build(KEY, Onnxruntime(), onnx_bytes())
    new = cache.build("1" * 64, Newer(), onnx_bytes(np.eye(3, dtype=np.float32)))
    aged(cache.folder)
    assert cache.sweep({"1" * 64}, Newer()) > 0
    assert (cache.find(KEY), cache.find("1" * 64), built(cache.folder)) == (None, new, [new])


def test_what_was_used_in_the_last_minutes_stays(cache: Cache) -> None:
    path = cache.build(KEY, Onnxruntime(), onnx_bytes())
    assert cache.sweep(set(), Newer()) == 0
    aged(cache.folder)
    assert cache.find(KEY) == path  # used again
    assert cache.sweep(set(), Newer()) == 0
    assert cache.find(KEY) == path


def test_models_that_are_not_served_stay_up_to_a_bound_the_last_used_first(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Onnxruntime()
    keys = [str(i) * 64 for i in range(4)]
    sizes = [
        cache.build(key, backend, onnx_bytes(np.full((3, 2), i + 1, np.float32))).stat().st_size
        for i, key in enumerate(keys)
    ]
    for age, key in enumerate(keys):  # the first was used last
        aged_entry = cache.folder / f"{key}.json"
        then = aged_entry.stat().st_mtime - 3600 - 60 * age
        os.utime(aged_entry, (then, then))
    for path in built(cache.folder):
        os.utime(path, (0, 0))
    monkeypatch.setattr("edgeshift.runtime.cache.SPARE_BYTES", sizes[0] + sizes[1])
    assert cache.sweep(set(), backend) >= sizes[2] + sizes[3]
    assert [cache.find(key) is not None for key in keys] == [True, True, False, False]
    assert len(built(cache.folder)) == 2


def test_what_is_in_use_stays_however_old_and_large(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeshift.runtime.cache.SPARE_BYTES", 0)
    path = cache.build(KEY, Onnxruntime(), onnx_bytes())
    aged(cache.folder)
    assert cache.sweep({KEY}, Onnxruntime()) == 0
    assert cache.find(KEY) == path


def test_files_that_no_entry_names_are_swept_once_they_are_old(cache: Cache) -> None:
    path = cache.build(KEY, Onnxruntime(), onnx_bytes())
    cache.drop(KEY)
    assert cache.sweep(set(), Onnxruntime()) == 0
    size = path.stat().st_size
    aged(cache.folder)
    assert cache.sweep(set(), Onnxruntime()) == size
    assert built(cache.folder) == []


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff", b'{"key": 3}'])
def test_entries_that_are_none_do_not_stop_a_sweep(cache: Cache, content: bytes) -> None:
    (cache.folder / f"{KEY}.json").write_bytes(content)
    assert cache.sweep(set(), Onnxruntime()) == 0


def test_an_engine_sweeps_what_an_older_runtime_built(tmp_path: Path) -> None:
    from tests.runtime.made import ladder

    first = ladder(tmp_path / "a")
    with Engine(first.path, cache=tmp_path / "c") as engine:
        entry = {
            v.name: tmp_path / "c" / f"{engine._cache.key(v.files['onnx'].sha256, Onnxruntime())}.json"
            for v in first
        }
    raw = json.loads(entry["large"].read_bytes())
    written(tmp_path / "c", {**raw, "runtime": "onnxruntime: onnxruntime 1.0.0"})
    aged(tmp_path / "c")
    with Engine(ladder(tmp_path / "b", ("small",)).path, cache=tmp_path / "c"):
        assert {n: path.exists() for n, path in entry.items()} == {
            "small": True,
            "middle": True,
            "large": False,
        }


@pytest.mark.parametrize(
    "change",
    [{"runtime": "onnxruntime: onnxruntime 1.0.0"}, {"size_bytes": 1}, {"more": 1}, {"check": "0" * 64}],
)
def test_every_word_of_an_entry_is_under_its_checksum(cache: Cache, change: dict[str, Any]) -> None:
    cache.build(KEY, Onnxruntime(), onnx_bytes())
    entry = cache.folder / f"{KEY}.json"
    entry.write_bytes(json_bytes({**json.loads(entry.read_bytes()), **change}))
    with pytest.raises(BadDigest, match="checksum of an entry of the cache must be that of 0000000000000000"):
        cache.find(KEY)


@pytest.mark.parametrize("value", [b"NaN", b"[1]", b"null", b"1.5", b"true"])
def test_an_entry_holds_words_and_whole_numbers_alone(cache: Cache, value: bytes) -> None:
    cache.build(KEY, Onnxruntime(), onnx_bytes())
    entry = cache.folder / f"{KEY}.json"
    entry.write_bytes(entry.read_bytes().replace(b'"runtime": "', b'"extra": ' + value + b',\n "runtime": "'))
    with pytest.raises(BadPortfolio, match="entry of the cache must be as it was written"):
        cache.find(KEY)


def test_a_long_entry_is_not_read(cache: Cache) -> None:
    (cache.folder / f"{KEY}.json").write_bytes(b"[" * (LONGEST + 1))
    with pytest.raises(BadPortfolio, match="entry of the cache must have at most 4096 bytes, got 4097"):
        cache.find(KEY)
    assert cache.sweep(set(), Onnxruntime()) == 0
