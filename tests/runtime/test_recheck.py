# SPDX-License-Identifier: Apache-2.0
"""Variants in memory are checked again: what was changed where it lies is found, kept away, and built again."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeshift.core.errors import BadDigest, BadPortfolio, BadValue
from edgeshift.portfolio import Portfolio
from edgeshift.runtime import Engine, Ready, Switcher
from edgeshift.runtime.recheck import Recheck
from tests.portfolio.made import INPUT
from tests.runtime.made import Stay, expected

NEVER = float("inf")


def overwritten(path: Path) -> None:
    """Change one byte of a file where it lies, as a broken disk does: same size, same time."""
    facts = path.stat()
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    path.chmod(0o400)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does, at most 20 s."""
    gone = threading.Event()
    for _ in range(2000):
        if holds():
            return
        gone.wait(0.01)
    raise AssertionError("it never came")


def checker(engine: Engine, active: Ready, seen: list[tuple[str, str]]) -> Recheck:
    return Recheck(
        engine,
        1.0,
        active=lambda: active,
        idle=lambda: True,
        wrong=lambda ready, why: seen.append((ready.profile.name, why)),
        unchecked=lambda ready, why: seen.append((ready.profile.name, f"unchecked {why}")),
    )


def test_sound_variants_are_left_alone(three: Portfolio) -> None:
    seen: list[tuple[str, str]] = []
    with Engine(three.path) as engine:
        for _ in range(4):
            checker(engine, engine.ready(0), seen).round()
    assert seen == []


def test_a_round_checks_the_active_one_and_the_others_in_turn(
    three: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine(three.path) as engine:
        checked: list[str] = []
        monkeypatch.setattr(engine, "recheck", lambda ready: checked.append(ready.profile.name) or "")
        found = checker(engine, engine.ready(1), [])
        for _ in range(3):
            found.round()
    assert checked == ["middle", "small", "middle", "large", "middle", "small"]


def test_a_file_changed_where_it_lies_is_named_by_its_checksum(three: Portfolio) -> None:
    with Engine(three.path) as engine:
        ready = engine.ready(2)
        assert engine.recheck(ready) == ""
        assert ready.file is not None
        overwritten(ready.file)
        assert "checksum of a cached file must be" in engine.recheck(ready)
        assert (engine.tally.digests, engine.tally.self_tests) == (1, 0)


def test_a_variant_whose_file_is_gone_is_wrong(three: Portfolio) -> None:
    with Engine(three.path) as engine:
        ready = engine.ready(1)
        assert ready.file is not None
        ready.file.unlink()
        assert "file of the cache must be there, got none" in engine.recheck(ready)


def test_a_golden_pair_that_cannot_be_read_says_nothing_about_the_variant(three: Portfolio) -> None:
    with Engine(three.path) as engine:
        overwritten(three.path / three.find("large").files["golden"].path)
        with pytest.raises(BadDigest, match="checksum of blobs/"):
            engine.recheck(engine.ready(2))
        seen: list[tuple[str, str]] = []
        checker(engine, engine.ready(0), seen).check(engine.ready(2))
        assert seen[0][0] == "large"
        assert seen[0][1].startswith("unchecked checksum of blobs/")


def test_a_wrong_variant_is_kept_away_and_comes_back_from_a_new_file(three: Portfolio) -> None:
    with Engine(three.path) as engine, Switcher(engine, Stay(), recheck_s=0.02) as switcher:
        switcher.pin("large")
        before = engine.ready(2)
        assert before.file is not None
        overwritten(before.file)
        until(lambda: any(e.cause == "recovered: large" for e in switcher.events()))
        causes = [event.cause for event in switcher.events()]
        after = engine.ready(2)
        assert causes.index("wrong: large") < causes.index("recovered: large")
        assert "cached file refused: checksum of a cached file must be" in after.note
        assert after is not before
        found = switcher.snapshot()
        assert found.digest_failures >= 1
        assert found.alarms >= 1
        assert np.array_equal(switcher.run(INPUT).outputs["output"], expected("large"))


def test_a_variant_that_answers_wrongly_is_kept_away(
    three: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine(three.path) as engine, Switcher(engine, Stay(), recheck_s=NEVER) as switcher:
        switcher.pin("large")
        ready = engine.ready(2)
        right = ready.model.run({"input": INPUT})
        monkeypatch.setattr(
            type(ready.model),
            "run",
            lambda model, inputs, limit_s=NEVER: {k: v + 1 for k, v in right.items()},
        )
        why = engine.recheck(ready)
        assert "relative error of large in its self test must be at most" in why
        assert engine.tally.self_tests == 1


def test_serving_goes_on_while_variants_are_checked(three: Portfolio) -> None:
    with Engine(three.path) as engine, Switcher(engine, Stay(), recheck_s=0.001) as switcher:
        for number in range(300):
            name = ("small", "middle", "large")[number % 3]
            switcher.switch(name)
            answer = switcher.run(INPUT)
            assert answer.variant == name
            assert np.array_equal(answer.outputs["output"], expected(name))
        assert switcher.snapshot().alarms == 0


def test_isolated_variants_are_checked_in_their_own_process(three: Portfolio) -> None:
    with Engine(three.path, isolated=True, mode="demand") as engine:
        ready = engine.ready(0)
        assert engine.recheck(ready) == ""
        ready.model.close()
        assert "worker must answer, got one that died" in engine.recheck(ready)


@pytest.mark.parametrize("period_s", [0.0, -1.0, float("nan")])
def test_a_period_must_be_above_0(three: Portfolio, period_s: float) -> None:
    with Engine(three.path) as engine, pytest.raises(BadValue, match="recheck_s must be above 0, got"):
        Switcher(engine, Stay(), recheck_s=period_s)


def test_a_variant_without_a_golden_pair_is_compared_with_its_first_reference(tmp_path: Path) -> None:
    from tests.portfolio.made import DATA, MODEL, RECIPE, draft
    from tests.runtime.made import files

    whole = files("small")
    made = Portfolio.create(tmp_path / "p", MODEL, DATA, RECIPE)
    made = made.add(draft("small", 0.8, 1.0), {"onnx": whole["onnx"]})
    with Engine(made.path) as engine:
        ready = engine.ready(0)
        assert (ready.proof, list(ready.right)) == ("reference", ["output"])
        # The portable file is not read again: the first answer of the reference is kept.
        (made.path / made.find("small").files["onnx"].path).unlink()
        assert engine.recheck(ready) == ""


def test_another_generation_is_no_fault_of_the_variant(three: Portfolio, tmp_path: Path) -> None:
    with Engine(three.path) as engine:
        ready = engine.ready(2)
    from tests.runtime.made import ladder

    other = ladder(tmp_path / "q", ("small",))
    with Engine(other.path, cache=three.path / ".cache") as engine:
        assert engine.recheck(ready) == ""


def test_damage_is_a_portfolio_that_must_not_be_trusted() -> None:
    assert issubclass(BadDigest, BadPortfolio)


def test_what_cannot_be_checked_is_said_whatever_it_is(
    three: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Engine, ready: Ready) -> str:
        raise FileNotFoundError("the cache is gone")

    seen: list[tuple[str, str]] = []
    with Engine(three.path) as engine:
        monkeypatch.setattr(Engine, "recheck", gone)
        recheck = checker(engine, engine.ready(0), seen)
        recheck.round()
        recheck.round()
    assert [why for _, why in seen] == ["unchecked the cache is gone"] * 4
