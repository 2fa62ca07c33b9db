# SPDX-License-Identifier: Apache-2.0
"""Variants of a nested file in the engine: built one by one, or all using the one mapping of the file."""

import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.portfolio import Portfolio
from edgeshift.portfolio.verify import onnx_of
from edgeshift.runtime import Engine, Switcher
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.policies.fixed import Fixed
from tests.derive.nesting import NETS, nested
from tests.runtime.made import Faulty

MODES = ("warm", "neighbours", "demand", "views")
NAMES = ("level-0", "level-1", "level-2")


@pytest.fixture
def copy(tmp_path: Path) -> Portfolio:
    """A nested portfolio of three levels in a folder of its own."""
    return Portfolio.open(
        shutil.copytree(nested("whole").path, tmp_path / "p", ignore=shutil.ignore_patterns(".cache"))
    )


def given(seed: int = 0) -> NDArray[np.float32]:
    """Two random images."""
    return np.random.default_rng(seed).standard_normal((2, *NETS["whole"].input_shape), dtype=np.float32)


def close(got: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """As equal as kernels of one machine are."""
    return bool(np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("mode", MODES)
def test_every_variant_answers_right_in_every_mode(copy: Portfolio, mode: str) -> None:
    plain = Onnxruntime()
    with Engine(copy.path, mode=mode) as engine:
        assert [p.name for p in engine.ladder.profiles] == list(reversed(NAMES))
        for variant in copy:
            wanted = plain.reference(onnx_of(copy.path, variant)).run({"input": given()})["output"]
            answer = engine.run(given(), variant.name)
            assert answer.variant == variant.name
            assert close(answer.outputs["output"], wanted)
        assert not engine.failed


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/maps")
def test_views_map_the_file_once_and_build_nothing(copy: Portfolio) -> None:
    blob = str(copy.path_of(copy.variants[0], "nested"))
    with Engine(copy.path, mode="views") as engine:
        for name in NAMES:
            engine.run(given(), name)
        assert [engine.ready(i).source for i in range(3)] == ["views"] * 3
        lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(blob)]
        assert len(lines) == 1
        assert not list((copy.path / ".cache").glob("*.bin"))


def test_other_modes_build_a_file_for_each_variant_once(copy: Portfolio) -> None:
    with Engine(copy.path, mode="warm") as engine:
        assert [engine.ready(i).source for i in range(3)] == ["cache"] * 3
    built = {p.name: p.stat().st_mtime_ns for p in (copy.path / ".cache").glob("*.bin")}
    assert len(built) == 3
    with Engine(copy.path, mode="demand") as engine:
        engine.run(given(), "level-0")
    assert {p.name: p.stat().st_mtime_ns for p in (copy.path / ".cache").glob("*.bin")} == built


def test_every_answer_is_that_of_the_variant_it_names(copy: Portfolio) -> None:
    inputs = [given(seed) for seed in range(4)]
    wrong: list[str] = []
    with Engine(copy.path, mode="views") as engine:
        right = {(n, i): engine.run(x, n).outputs["output"] for n in NAMES for i, x in enumerate(inputs)}
        with Switcher(engine, Fixed(variant=-1, reject=False)) as switcher:

            def ask(seed: int) -> None:
                draw = np.random.default_rng(seed)
                for _ in range(100):
                    number = int(draw.integers(len(inputs)))
                    answer = switcher.run(inputs[number], variant=NAMES[int(draw.integers(3))])
                    if not np.array_equal(answer.outputs["output"], right[answer.variant, number]):
                        wrong.append(answer.variant)

            threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
            for thread in threads:
                thread.start()
            for _ in range(300):
                switcher.switch(NAMES[_ % 3])
            for thread in threads:
                thread.join()
    assert wrong == []


def test_views_need_a_nested_file(tmp_path: Path, three: Portfolio) -> None:
    with pytest.raises(BadPortfolio, match=r"must be in a nested file, got .*; run edgeshift nest"):
        Engine(three.path, mode="views")


def test_views_are_not_for_processes_of_their_own(copy: Portfolio) -> None:
    with pytest.raises(BadValue, match="isolated must be False in mode views"):
        Engine(copy.path, mode="views", isolated=True)


def test_views_need_a_backend_that_can(copy: Portfolio) -> None:
    with pytest.raises(BadValue, match="backend must be onnxruntime in mode views, got 'faulty'"):
        Engine(copy.path, mode="views", backend=Faulty())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("at", [0, 300, -1])
def test_a_changed_file_is_never_used(copy: Portfolio, mode: str, at: int) -> None:
    path = copy.path_of(copy.variants[0], "nested")
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.chmod(0o600)
    path.write_bytes(bytes(data))
    with pytest.raises(BadPortfolio, match="must be"):
        Engine(copy.path, mode=mode)


def test_a_file_changed_where_it_is_mapped_is_found_by_the_next_check(copy: Portfolio) -> None:
    path = copy.path_of(copy.variants[0], "nested")
    with Engine(copy.path, mode="views") as engine:
        loader = engine._opened.loader
        assert loader.recheck(engine.ready(0)) == ""
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.seek(-1, 2)
            last = file.read(1)[0]
            file.seek(-1, 2)
            file.write(bytes([last ^ 1]))
        assert "checksum of the nested file must be" in loader.recheck(engine.ready(0))


def test_built_files_of_nested_variants_are_in_use(copy: Portfolio) -> None:
    with Engine(copy.path) as engine, pytest.MonkeyPatch.context() as patch:
        # Whatever is not in use would go at once.
        patch.setattr("edgeshift.runtime.cache.STALE_S", -1.0)
        patch.setattr("edgeshift.runtime.cache.SPARE_BYTES", 0)
        engine.reload()
        assert len(list((copy.path / ".cache").glob("*.bin"))) == 3
