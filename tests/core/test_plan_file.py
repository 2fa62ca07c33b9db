# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.core.plan_file import Pick, Plan, read_plan, write_plan

PICK = Pick("pi5", "a" * 16, "level-2", ("latency<=20ms",), (), 0.91, {"latency<=20ms": 18.5}, 0.93)
PLAN = Plan((PICK,), ("a" * 16,), "f" * 64, "scan", ("level-2 is chosen.",))


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", PLAN)
    assert read_plan(tmp_path / "plan.json") == PLAN


def test_a_plan_restricts_variants_in_their_own_order() -> None:
    plan = Plan((), ("b" * 16, "a" * 16))
    assert plan.keep(["a" * 16, "c" * 16, "b" * 16]) == ("a" * 16, "b" * 16)


def test_a_plan_of_another_portfolio_is_refused() -> None:
    with pytest.raises(
        BadPortfolio, match="plan must fit the portfolio, got variant 'aaaaaaaaaaaaaaaa' that it"
    ):
        PLAN.keep(["c" * 16])


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(()), "plan must be a variant for at least one device"),
        (replace(PLAN, variants=("b" * 16,)), "variants of picks must be among those to ship"),
        (replace(PLAN, variants=("a" * 16, "a" * 16)), "variants to ship must be distinct"),
        (replace(PLAN, picks=(replace(PICK, broken=("size<=2B",)),)), "broken limits of pi5 must be among"),
        (replace(PLAN, picks=(replace(PICK, sure=1.5),)), r"sure of pi5 must be 0\.\.1, got 1.5"),
        (replace(PLAN, picks=(replace(PICK, kind="guessed"),)), "kind must be measured or predicted"),
        (Plan((replace(PICK, variant="", name=""),)), "pick of pi5 must be a variant or a design"),
    ],
)
def test_a_plan_that_contradicts_itself_is_not_written(plan: Plan, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=message):
        write_plan(tmp_path / "plan.json", plan)


@pytest.mark.parametrize("text", ["[]", "{}", '{"kind": "edgeshift plan", "format": 2}', "no json"])
def test_another_file_is_no_plan(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(BadPortfolio, match=r"must be (a plan of format 1|JSON), got"):
        read_plan(tmp_path / "plan.json")


def test_a_plan_without_a_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"kind": "edgeshift plan", "format": 1, "variants": ["a"]}')
    with pytest.raises(BadValue, match="plan must be a record with the fields of Plan, got \"'picks'\""):
        read_plan(tmp_path / "plan.json")


def test_no_file_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(BadPortfolio, match="plan must be a file, got"):
        read_plan(tmp_path / "plan.json")
