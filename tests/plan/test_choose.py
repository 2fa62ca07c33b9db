# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.values import Measurement
from edgeshift.plan.choose import Asked, choose, decide, hold_out, plan_portfolio
from edgeshift.plan.figures import Candidates, known, of_portfolio
from edgeshift.plan.limits import Limit, parse
from edgeshift.portfolio import Portfolio
from edgeshift.predict.intervals import interval, normal
from edgeshift.predict.samples import Samples
from tests.portfolio.made import DATA, MODEL, RECIPE, draft, files


@pytest.fixture
def portfolio(tmp_path: Path) -> Portfolio:
    """Three variants: 0.9 in 4 ms (p95 5), 0.8 in 2 ms, 0.7 in 1 ms; batch 8 takes six times as long."""
    made = Portfolio.create(tmp_path / "p", MODEL, DATA, RECIPE)
    for seed, (accuracy, ms) in enumerate(((0.9, 4.0), (0.8, 2.0), (0.7, 1.0))):
        one = draft(f"level-{seed}", accuracy, ms, 1000 * ms)
        many = Measurement("latency", 6 * ms, "ms", batch_size=8, p95=7 * ms)
        timed = replace(one.measurements[0], p95=1.25 * ms)
        made = made.add(replace(one, measurements=(timed, one.measurements[1], many)), files(seed))
    return made


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ("latency<=9ms", "level-0"),
        ("latency<=4ms", "level-0"),
        ("latency<=3.9ms", "level-1"),
        ("p95<=4ms", "level-1"),
        ("latency<=13ms@batch=8", "level-1"),
        ("p95<=13ms@batch=8", "level-2"),
        ("memory<=1kB", "level-2"),
        ("latency<=4ms@clock=0.5", "level-1"),
        ("latency<=3ms; accuracy>=75%", "level-1"),
    ],
)
def test_the_most_accurate_variant_inside_the_limits_is_chosen(
    portfolio: Portfolio, limits: str, name: str
) -> None:
    (pick,) = plan_portfolio(portfolio, parse(limits)).picks
    assert (pick.name, pick.broken) == (name, ())


def test_a_limit_that_cannot_be_kept_is_said_with_the_nearest(portfolio: Portfolio) -> None:
    plan = plan_portfolio(portfolio, parse("latency<=0.5ms"))
    assert (plan.picks[0].name, plan.picks[0].broken) == ("level-2", ("latency<=0.5ms",))
    assert plan.says[0] == "latency<=0.5ms cannot be kept; level-2 comes nearest with 1ms."


def test_limits_that_exclude_each_other_name_what_is_broken(portfolio: Portfolio) -> None:
    (pick,) = plan_portfolio(portfolio, parse("latency<=2ms; accuracy>=85%")).picks
    assert pick.broken
    assert set(pick.broken) < {"latency<=2ms", "accuracy>=0.85"}


def test_measured_and_bounded_figures_are_told_apart(portfolio: Portfolio) -> None:
    assert plan_portfolio(portfolio, parse("latency<=9ms")).picks[0].kind == "measured"
    assert plan_portfolio(portfolio, parse("latency<=9ms@clock=0.5")).picks[0].kind == "predicted"


def test_a_point_that_was_not_measured_is_refused(portfolio: Portfolio) -> None:
    with pytest.raises(
        BadValue, match="latency<=9ms@batch=3 of level-0 must be measured there; run edgeshift bench"
    ):
        plan_portfolio(portfolio, parse("latency<=9ms@batch=3"))
    with pytest.raises(BadValue, match="energy<=9mJ of level-0 must be measured there"):
        of_portfolio(portfolio.variants, parse("energy<=9mJ"))


def test_a_plan_ships_what_it_picks(portfolio: Portfolio) -> None:
    plan = plan_portfolio(portfolio, parse("latency<=3ms"))
    assert plan.keep([v.id for v in portfolio]) == (portfolio.find("level-1").id,)


def test_a_strange_solver_gets_the_near_one(portfolio: Portfolio) -> None:
    with pytest.raises(UnknownName, match="no solver named 'scna'; did you mean 'scan'"):
        plan_portfolio(portfolio, parse("latency<=3ms"), solver="scna")


def test_the_margin_keeps_away_from_a_limit_that_is_only_predicted() -> None:
    (limit,) = parse("latency<=10ms")
    sigma = 0.1
    figures = {limit: interval(np.log([9.5, 8.0]), normal(0.9) * sigma, 0.9, "made")}
    candidates = Candidates(("large", "small"), np.array([0.9, 0.8]), figures)
    assert choose(candidates).place == 1  # 9.5 * e^0.13 is over 10
    assert choose(candidates, multiple=0.0).place == 0


def test_one_more_measurement_is_worth_its_expected_gain() -> None:
    # The larger one is as likely inside as outside and would gain 10 points: 5 in expectation.
    (limit,) = parse("latency<=10ms")
    figures = {limit: interval(np.log([10.0, 5.0]), normal(0.9) * 0.1, 0.9, "made")}
    said = choose(Candidates(("large", "small"), np.array([0.9, 0.8]), figures)).explanation
    assert (said.measure, said.worth) == ("large", pytest.approx(0.05))
    assert said.sure == pytest.approx(1.0)
    assert (said.tight, said.headroom) == ("latency<=10ms", pytest.approx(0.5))


def test_the_explanation_says_what_the_next_ones_cost() -> None:
    (limit,) = parse("latency<=10ms")
    figures = {limit: known([12.0, 8.0, 5.0], "ms")}
    choice = choose(Candidates(("a", "b", "c"), np.array([0.9, 0.8, 0.75]), figures))
    assert choice.says == (
        "b is chosen; all limits hold with probability 1.00.",
        "20.0% is left of latency<=10ms, its tightest limit.",
        "a, the next more accurate one, is 20.0% over latency<=10ms.",
        "The next best, c, costs 5.00 points of accuracy.",
    )


def test_a_limit_that_nothing_keeps_is_said_first() -> None:
    (limit,) = parse("latency<=0.1ms")
    choice = choose(Candidates(("a", "b"), np.array([0.9, 0.8]), {limit: known([12.0, 8.0], "ms")}))
    assert choice.says == (
        "latency<=0.1ms cannot be kept; b comes nearest with 8ms.",
        "b is only the nearest; all limits hold with probability 0.00.",
        "It is 79 times over latency<=0.1ms, its tightest limit.",
        "a, the next more accurate one, is 119 times over latency<=0.1ms.",
    )


def test_another_device_is_predicted_from_what_was_measured_on_it(portfolio: Portfolio) -> None:
    # Ten times as slow where it was measured: level-1 is predicted near 20 ms, with a margin.
    device = {"name": "pi", "latency_ms": {"level-0": 40.0, "level-2": 10.0}}
    (pick,) = plan_portfolio(portfolio, parse("latency<=45ms; size<=1MB"), device).picks
    assert (pick.device, pick.name, pick.kind, pick.broken) == ("pi", "level-0", "predicted", ())
    assert pick.expected["latency<=45ms"] == 40.0  # measured there: no margin
    (tight,) = plan_portfolio(portfolio, parse("latency<=11ms"), device).picks
    assert tight.name == "level-2"


@pytest.mark.parametrize(
    ("device", "limits", "message"),
    [
        (
            {"name": "pi"},
            "latency<=5ms",
            "latency_ms of pi must be milliseconds of at least one variant by name",
        ),
        (
            {"latency_ms": {"level-0": 4.0}},
            "memory<=5kB",
            "limit for device must be on latency or p95 at batch 1",
        ),
    ],
)
def test_a_device_that_says_too_little_is_refused(
    portfolio: Portfolio, device: dict[str, object], limits: str, message: str
) -> None:
    with pytest.raises(BadValue, match=message):
        plan_portfolio(portfolio, parse(limits), device)


@pytest.fixture
def table() -> Samples:
    """60 networks whose cost is a sum of two counts, on six devices; the more work, the more accurate."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 20, (60, 2)).astype(float)
    prices = np.exp(rng.normal(0, 0.7, (2, 6)))
    cost = counts @ prices * np.exp(rng.normal(0, 0.02, (60, 6)))
    names = (*(f"chip{i}" for i in range(5)), "chip4_32")
    return Samples(
        counts, cost, names, ("count_a", "count_b"), accuracy=0.5 + counts.sum(1) / 100,
        families={"chip4": "chip4", "chip4_32": "chip4"},
    ).check()  # fmt: skip


def test_a_held_out_device_is_judged_by_its_true_costs(table: Samples) -> None:
    bound = float(np.median(table.column("chip4")))
    asked = Asked((Limit("latency", bound),), predictor="count_ridge", calibrate=12, verify=4)
    found = decide(hold_out(table, "chip4", asked), asked)
    assert found.met
    assert found.said_met
    assert found.cost == table.column("chip4")[found.row] <= bound
    inside = table.column("chip4") <= bound
    assert found.optimum_accuracy == np.asarray(table.accuracy)[inside].max()
    assert 0 <= found.regret < 0.05
    assert 12 <= found.measurements <= 16


def test_nothing_is_learnt_from_the_family_of_a_held_out_device(table: Samples) -> None:
    asked = Asked((Limit("latency", 1.0),), predictor="count_ridge", calibrate=12)
    spoilt = table.cost.copy()
    spoilt[:, 5] *= np.exp(np.random.default_rng(1).normal(0, 2, 60))
    one, other = (hold_out(t, "chip4", asked).prediction.value for t in (table, replace(table, cost=spoilt)))
    assert (one == other).all()


@pytest.mark.parametrize("solver", ["scan", "knapsack", "evolution", "rules"])
def test_any_solver_chooses_a_row_under_the_margin(table: Samples, solver: str) -> None:
    bound = float(np.median(table.column("chip4")))
    asked = Asked((Limit("latency", bound),), solver, "count_ridge", 12, 0)
    found = decide(hold_out(table, "chip4", asked), asked)
    assert found.predicted < bound
    assert found.says[0].startswith(f"row {found.row} is chosen")


def test_a_limit_that_nothing_measured_keeps_is_not_called_met(table: Samples) -> None:
    asked = Asked((Limit("latency", 1e-6),), predictor="count_ridge", calibrate=12)
    found = decide(hold_out(table, "chip4", asked), asked)
    assert (found.met, found.said_met, found.optimum_row) == (False, False, -1)
    assert "holds for nothing that was measured" in found.says[0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(parse("size<=3MB"), predictor="count_ridge"), "limits must be one on latency"),
        (
            Asked(parse("latency<=9ms; accuracy>=100%"), predictor="count_ridge"),
            "accuracy floor must be at most",
        ),
        (Asked(parse("latency<=9ms"), calibrate=60), r"calibrating measurements must be 0\.\.59, got 60"),
    ],
)
def test_questions_a_table_cannot_answer_are_refused(table: Samples, asked: Asked, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        decide(hold_out(table, "chip4", asked), asked)
