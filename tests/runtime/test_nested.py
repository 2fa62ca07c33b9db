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

from edgeshift.core.errors import BadPortfolio, BadValue, VariantFailed
from edgeshift.formats.nested import Nested, open_nested
from edgeshift.formats.nested_onnx import joined_arrays, joined_onnx, whole_onnx
from edgeshift.portfolio import Portfolio
from edgeshift.portfolio.verify import onnx_of
from edgeshift.runtime import Engine, Switcher
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.nested import NestedFiles, beside_bytes
from edgeshift.runtime.policies.fixed import Fixed
from tests.derive.nesting import NETS, nested
from tests.runtime.made import Faulty

MODES = ("warm", "neighbours", "demand", "views")
NAMES = ("level-0", "level-1", "level-2")


# With a session for each variant in mode views, and with one for all.
@pytest.fixture(params=["whole", "perceptron"])
def copy(tmp_path: Path, request: pytest.FixtureRequest) -> Portfolio:
    """A nested portfolio of three levels in a folder of its own."""
    source = nested(request.param).path
    return Portfolio.open(shutil.copytree(source, tmp_path / "p", ignore=shutil.ignore_patterns(".cache")))


def file_of(portfolio: Portfolio) -> Nested:
    """Its nested file, mapped."""
    return open_nested(portfolio.path_of(portfolio.variants[0], "nested"))


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


@pytest.mark.parametrize("name", ["perceptron", pytest.param("vgg", marks=pytest.mark.slow)])
def test_one_session_answers_as_each_variants_own_graph(name: str) -> None:
    found, backend = file_of(nested(name)), Onnxruntime()
    graph = joined_onnx(found)
    assert graph is not None
    session = backend.open_joined(graph, 1)
    source = np.random.default_rng(0)
    for number in range(3):
        arrays = joined_arrays(found, number)
        numbers = [a for name, a in arrays.items() if a.size and not name.endswith("#sizes")]
        assert all(np.shares_memory(array, found.data) for array in numbers)
        model, own = session.model(arrays), backend.reference(whole_onnx(found, number))
        assert (model.inputs, model.outputs) == (own.inputs, own.outputs)
        for batch in (2, 1, 5):
            # Whole numbers: the perceptron's sums do not depend on their order, so bits are equal.
            shape = (batch, *NETS[name].input_shape)
            inputs = {"input": source.integers(-3, 4, shape).astype(np.float32)}
            got, wanted = model.run(inputs)["output"], own.run(inputs)["output"]
            assert np.array_equal(got, wanted) if name == "perceptron" else close(got, wanted)


@pytest.mark.parametrize(
    "name", ["whole", *(pytest.param(n, marks=pytest.mark.slow) for n in ("mobilenetv2", "resnet"))]
)
def test_variants_that_differ_by_more_than_widths_have_no_graph_in_common(name: str) -> None:
    # Shortcuts that pad by other numbers; as many groups as channels.
    assert joined_onnx(file_of(nested(name))) is None


def test_large_weights_have_a_session_for_each_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    # The widest layer of the perceptron that is cut in both directions has 8 x 12 numbers.
    portfolio, backend, files = nested("perceptron"), Onnxruntime(), NestedFiles()
    found = files.nested(portfolio, portfolio.variants[0])
    assert beside_bytes(found) == 8 * 12 * 4
    for session_bytes, shared in ((8 * 12 * 4, True), (8 * 12 * 4 - 1, False)):
        # Two more sessions against twice that weight.
        monkeypatch.setattr("edgeshift.runtime.nested.SESSION_BYTES", session_bytes)
        assert (files.joined(found, "x", backend, 1) is not None) == shared
        model, copied = files.open_views(portfolio, portfolio.variants[1], backend, 1)
        wanted = backend.reference(whole_onnx(found, 1)).run({"input": given()})["output"]
        assert close(model.run({"input": given()})["output"], wanted)
        assert not copied


def test_what_a_shared_session_cannot_answer_fails_for_that_request_only() -> None:
    found = file_of(nested("perceptron"))
    model = Onnxruntime().open_joined(joined_onnx(found) or b"", 1).model(joined_arrays(found, 0))
    with pytest.raises(VariantFailed, match="model must answer, got"):
        model.run({"input": np.zeros((1, 5), np.float32)})
    assert np.isfinite(model.run({"input": given()})["output"]).all()


def test_a_binding_that_was_stopped_half_way_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found, backend = file_of(nested("perceptron")), Onnxruntime()
    joined = backend.open_joined(joined_onnx(found) or b"", 1)
    one, two = (joined.model(joined_arrays(found, number)) for number in (0, 2))
    wanted = one.run({"input": given()})["output"]
    binding = joined._bound.binding
    left = iter([binding.bind_ortvalue_input] * 2)
    with monkeypatch.context() as patch:
        # The third weight cannot be bound.
        patch.setattr(type(binding), "bind_ortvalue_input", lambda _, name, value: next(left)(name, value))
        with pytest.raises(VariantFailed):
            two.run({"input": given()})
    assert np.array_equal(one.run({"input": given()})["output"], wanted)


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
