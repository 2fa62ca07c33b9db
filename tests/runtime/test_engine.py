# SPDX-License-Identifier: Apache-2.0
"""A portfolio in memory: right answers, memory modes, reload and rollback, refusals."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeshift.core.errors import BadPortfolio, BadValue, TooOld, UnknownName, VariantFailed
from edgeshift.core.plan_file import Pick, Plan, write_plan
from edgeshift.portfolio import Golden, Portfolio, keys
from edgeshift.runtime import Engine
from edgeshift.runtime.engine import MODES
from tests.portfolio.made import ANSWER, DATA, INPUT, MODEL, RECIPE, draft
from tests.runtime.made import Faulty, expected, files, first, ladder


def wait_for(true: object) -> None:
    """Until a background thread has done its work; fails after 20 s."""
    end = time.monotonic() + 20
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("name", ["small", "middle", "large"])
@pytest.mark.parametrize("mode", MODES)
def test_every_variant_gives_its_own_answer(three: Portfolio, name: str, mode: str) -> None:
    with Engine(three.path, mode=mode) as engine:
        answer = engine.run(INPUT, name)
    np.testing.assert_array_equal(answer.outputs["output"], expected(name))
    assert (answer.variant, answer.variant_id) == (name, three.find(name).id)


def test_the_ladder_is_sorted_by_latency(three: Portfolio) -> None:
    with Engine(three.path) as engine:
        assert [p.name for p in engine.ladder.profiles] == ["small", "middle", "large"]


def test_without_a_name_the_most_accurate_answers(three: Portfolio) -> None:
    with Engine(three.path) as engine:
        assert engine.run(INPUT).variant == "large"


def test_inputs_may_come_by_name(three: Portfolio) -> None:
    with Engine(three.path) as engine:
        answer = engine.run({"input": INPUT}, "small")
    np.testing.assert_array_equal(answer.outputs["output"], ANSWER)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (INPUT.astype(np.float64), "dtype of input must be float32, got 'float64'"),
        (INPUT.astype(">f4"), "dtype of input must be float32, got '>f4'"),
        (INPUT[:, :2], r"shape of input must be \(any, 3\), got \(2, 2\)"),
        (INPUT[:0], r"shape of input must be \(any, 3\), got \(0, 3\)"),
        (INPUT[0], r"shape of input must be \(any, 3\), got \(3,\)"),
        ([[1.0, 2.0, 3.0]], "input input must be a numpy array, got 'list'"),
        ({"other": INPUT}, r"names of the inputs must be \['input'\], got \['other'\]"),
        ({"input": INPUT, "b": INPUT}, r"names of the inputs must be \['input'\], got \['b', 'input'\]"),
        ({}, r"names of the inputs must be \['input'\], got \[\]"),
    ],
)
def test_wrong_inputs_are_refused(three: Portfolio, inputs: object, message: str) -> None:
    with Engine(three.path, mode="demand") as engine, pytest.raises(BadValue, match=message):
        engine.run(inputs)  # type: ignore[arg-type]


def test_an_unknown_variant_is_named(three: Portfolio) -> None:
    with Engine(three.path) as engine, pytest.raises(UnknownName, match="no variant named 'smal'; did you"):
        engine.run(INPUT, "smal")


def test_an_unknown_mode_is_refused(three: Portfolio) -> None:
    with pytest.raises(BadValue, match="mode must be one of warm, neighbours, demand, views, got 'hot'"):
        Engine(three.path, mode="hot")


def test_warm_keeps_all_in_memory(three: Portfolio) -> None:
    with Engine(three.path) as engine:
        assert [engine.is_ready(i) for i in range(3)] == [True, True, True]


def test_neighbours_keeps_those_beside_the_active_one(tmp_path: Path) -> None:
    three = ladder(tmp_path / "p")
    with Engine(three.path, mode="neighbours") as engine:
        assert [engine.is_ready(i) for i in range(3)] == [True, False, False]
        engine.focus(1)
        wait_for(lambda: engine.is_ready(1) and engine.is_ready(2))
        engine.focus(0)
        wait_for(lambda: not engine.is_ready(2))
        assert engine.is_ready(0)


def test_on_demand_opens_what_is_wanted_and_closes_what_is_not_active(three: Portfolio) -> None:
    with Engine(three.path, mode="demand") as engine:
        engine.want(2)
        wait_for(lambda: engine.is_ready(2))
        engine.focus(2)
        engine.want(1)
        wait_for(lambda: engine.is_ready(1))
        engine.focus(1)
        wait_for(lambda: not engine.is_ready(2))
        assert engine.is_ready(0)


def test_beyond_the_memory_limit_a_variant_stays_closed(three: Portfolio) -> None:
    size = three.find("small").files["onnx"].size_bytes
    built = 1600  # bytes of a built file of these, at least
    with Engine(three.path, memory_limit_bytes=built + size) as engine:
        assert engine.is_ready(0)
        assert not engine.is_ready(2)
        assert "out of memory" in engine.failed["large"]
        with pytest.raises(VariantFailed, match="variant large must open, got: out of memory"):
            engine.run(INPUT, "large")


def test_a_new_variant_is_served_after_a_reload(tmp_path: Path) -> None:
    made = ladder(tmp_path / "p", ("small", "middle")).publish()
    with Engine(made.path) as engine:
        first_generation = engine.generation
        made.add(draft("large", 0.95, 4.0), files("large")).publish()
        assert engine.run(INPUT).variant == "middle"
        assert engine.reload() == 2
        assert (first_generation, engine.run(INPUT).generation, engine.run(INPUT).variant) == (1, 2, "large")


def test_a_reload_keeps_the_models_of_unchanged_variants(tmp_path: Path) -> None:
    made = ladder(tmp_path / "p", ("small", "middle"))
    with Engine(made.path) as engine:
        before = engine.ready(0).model
        made.add(draft("large", 0.95, 4.0), files("large"))
        engine.reload()
        assert engine.ready(0).model is before


def test_a_damaged_new_generation_is_refused_and_the_old_one_serves(tmp_path: Path) -> None:
    made = ladder(tmp_path / "p", ("small", "middle")).publish()
    with Engine(made.path) as engine:
        wrong = {**files("large"), "golden": Golden(INPUT, ANSWER).to_bytes()}
        made.add(draft("large", 0.95, 4.0), wrong).publish()
        with pytest.raises(BadPortfolio, match="relative error of large in its self test must be at most"):
            engine.reload()
        assert (engine.generation, engine.run(INPUT).variant) == (1, "middle")


def test_rollback_goes_back_in_memory_and_on_disk(tmp_path: Path) -> None:
    made = ladder(tmp_path / "p", ("small", "middle")).publish()
    made.add(draft("large", 0.95, 4.0), files("large")).publish()
    with Engine(made.path) as engine:
        assert engine.rollback() == 1
        assert engine.run(INPUT).variant == "middle"
    assert Portfolio.open(made.path).generation == 1


def test_before_the_first_generation_there_is_nothing(three: Portfolio) -> None:
    with Engine(three.publish().path) as engine:
        with pytest.raises(UnknownName, match="no generation named '0'; known: 1"):
            engine.rollback()
        assert engine.run(INPUT).variant == "large"


def test_a_damaged_earlier_generation_is_not_gone_back_to(tmp_path: Path) -> None:
    made = ladder(tmp_path / "p", ("small", "middle")).publish()
    later = made.add(draft("large", 0.95, 4.0), files("large")).publish()
    with Engine(made.path) as engine:
        blob = made.path_of(made.find("middle"), "golden")
        blob.chmod(0o644)
        blob.write_bytes(blob.read_bytes()[:-1])
        with pytest.raises(BadPortfolio, match=r"must have .* bytes, got"):
            engine.rollback()
        assert engine.generation == later.generation == 2
    assert Portfolio.open(made.path).generation == 2


def test_a_pinned_key_refuses_an_unsigned_portfolio(three: Portfolio, tmp_path: Path) -> None:
    keys.new(tmp_path / "k")
    with pytest.raises(BadPortfolio, match=r"must be published and signed by key .*, got a draft"):
        Engine(three.path, public_key=tmp_path / "k.pub")
    three.sign(tmp_path / "k")
    with Engine(three.path, public_key=tmp_path / "k.pub") as engine:
        assert engine.run(INPUT).variant == "large"


def test_one_damaged_variant_does_not_close_the_others(three: Portfolio) -> None:
    blob = three.path_of(three.find("middle"), "onnx")
    blob.chmod(0o644)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    with Engine(three.path) as engine:
        assert [engine.is_ready(i) for i in range(3)] == [True, False, True]
        assert "checksum" in engine.failed["middle"]


def test_with_all_variants_damaged_there_is_no_engine(three: Portfolio) -> None:
    for variant in three:
        blob = three.path_of(variant, "onnx")
        blob.chmod(0o644)
        blob.write_bytes(b"x" + blob.read_bytes()[1:])
    with pytest.raises(BadPortfolio, match=r"a variant must be ready, got: .* checksum of blobs/"):
        Engine(three.path)


def two_sided() -> bytes:
    """A file with two inputs of two types, and two outputs."""
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "rows"], ["picked"], axis=0),
            helper.make_node("Add", ["picked", "shift"], ["sum"]),
            helper.make_node("Mul", ["picked", "shift"], ["product"]),
        ],
        "two",
        [
            helper.make_tensor_value_info("rows", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("shift", TensorProto.FLOAT, ["batch", 2]),
        ],
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("product", TensorProto.FLOAT, ["batch", 2]),
        ],
        [helper.make_tensor("table", TensorProto.FLOAT, [2, 2], [1, 2, 3, 4])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = made.SerializeToString()
    return data


def test_several_inputs_and_outputs_are_served(tmp_path: Path) -> None:
    made = Portfolio.create(tmp_path / "p", MODEL, DATA, RECIPE).add(draft("two"), {"onnx": two_sided()})
    with Engine(made.path) as engine:
        assert engine.ready(0).proof == "reference"
        given = {"rows": np.array([1, 0]), "shift": np.array([[10, 20], [30, 40]], np.float32)}
        answer = engine.run(given).outputs
        assert answer["sum"].tolist() == [[13, 24], [31, 42]]
        assert answer["product"].tolist() == [[30, 80], [30, 80]]
        with pytest.raises(BadValue, match=r"batch sizes of the inputs must be equal, got \[1, 2\]"):
            engine.run({**given, "rows": np.array([1])})


def test_variants_with_different_inputs_are_refused(tmp_path: Path) -> None:
    made = ladder(tmp_path / "p", ("small",)).add(draft("two", 0.99, 9.0), {"onnx": two_sided()})
    with pytest.raises(BadPortfolio, match="must have equal inputs and outputs, got different ones"):
        Engine(made.path)


def test_many_threads_get_the_answers_of_the_variants_they_named(three: Portfolio) -> None:
    wrong: list[str] = []

    def ask(name: str) -> None:
        wrong.extend(
            name
            for _ in range(50)
            if not np.array_equal(engine.run(INPUT, name).outputs["output"], expected(name))
        )

    with Engine(three.path) as engine:
        threads = [threading.Thread(target=ask, args=(n,)) for n in ("small", "middle", "large", "small")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_variant_that_raises_is_a_failed_variant(three: Portfolio) -> None:
    with Engine(three.path, backend=Faulty(good_runs=4)) as engine:
        ready = engine.ready(2)
        assert engine.sound(ready)
        with pytest.raises(VariantFailed, match="model must answer, got told not to"):
            engine.run(first(1), "large")
        assert not engine.sound(ready)
        assert engine.sound(engine.renew(2))


def plan_of(path: Path, *ids: str) -> Path:
    """A plan file that ships these variants."""
    picks = (Pick("pi", ids[0], "any", (), (), 0.9),)
    write_plan(path, Plan(picks, ids))
    return path


def test_a_plan_leaves_its_variants_only(three: Portfolio, tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "plan.json", three.find("large").id, three.find("small").id)
    with Engine(three.path, plan=plan) as engine:
        assert [p.name for p in engine.ladder.profiles] == ["small", "large"]


def test_a_plan_for_other_variants_is_refused(three: Portfolio, tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "plan.json", "0" * 16)
    with pytest.raises(BadPortfolio, match="plan must fit the portfolio, got variant '0000000000000000'"):
        Engine(three.path, plan=plan)


def test_a_file_that_is_no_plan_is_refused(three: Portfolio, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(BadPortfolio, match="must be a plan of format 1"):
        Engine(three.path, plan=tmp_path / "plan.json")


def test_an_engine_serves_nothing_below_its_least_generation(three: Portfolio) -> None:
    with pytest.raises(TooOld, match="must be at least 1 on this device, got a draft"):
        Engine(three.path, least_generation=1)
    published = three.publish()
    with Engine(three.path, least_generation=1) as engine:
        newer = published.add(draft("huge", 0.99, 9.0), files("large") | {"note": b"another"}).publish()
        assert engine.reload() == newer.generation == 2
        assert engine.rollback() == 1
    newer.rolled_back(2)
    with Engine(three.path, least_generation=2) as engine:
        with pytest.raises(TooOld, match=r"00000001\.json must be at least 2 on this device, got 1"):
            engine.rollback()
        assert (engine.generation, Portfolio.open(three.path).generation) == (2, 2)
        Portfolio.open(three.path).rolled_back(1)
        with pytest.raises(TooOld, match=r"portfolio\.json must be at least 2 on this device, got 1"):
            engine.reload()
        assert engine.generation == 2


def test_a_least_generation_is_no_negative_number(three: Portfolio) -> None:
    with pytest.raises(BadValue, match="least_generation must be at least 0, got -1"):
        Engine(three.path, least_generation=-1)
