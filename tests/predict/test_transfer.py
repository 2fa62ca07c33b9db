# SPDX-License-Identifier: Apache-2.0
"""Transfer on made-up devices whose prices are known."""

from dataclasses import replace

import numpy as np
import pytest

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.predict.features import encoder
from edgeshift.predict.hold_out import Trial, hide, hold_out, split, summary
from edgeshift.predict.models.count_ridge import CountRidge
from edgeshift.predict.models.device_net import DeviceNet
from edgeshift.predict.models.proxy import Proxy
from edgeshift.predict.monotonicity import Rule, agreement, correlations, from_pairs
from edgeshift.predict.nonnegative import nonnegative, relative_fit
from edgeshift.predict.pareto import front, likely, recall, regret
from edgeshift.predict.proxies import affine, linear_proxy, scale_prices
from edgeshift.predict.ridge import ridge
from edgeshift.predict.samples import Samples
from edgeshift.predict.sampling import choose
from edgeshift.predict.scores import ceiling, ranks, score, spearman

NAMES = tuple(f"{view}/{name}" for view in ("written", "live") for name in ("big", "small", "add"))


def fleet(devices: int = 8, n: int = 400, seed: int = 0, noise: float = 0.02) -> Samples:
    """Devices that price three operators differently; the last two run the live graph, the others all of it."""
    rng = np.random.default_rng(seed)
    written = rng.integers(0, 6, (n, 3)).astype(float)
    live = np.floor(written * rng.random((n, 3)))
    prices = np.exp(rng.normal([2.0, 0.5, -1.0], 0.4, (devices, 3)))
    cost = np.stack(
        [0.5 + (live if j >= devices - 2 else written) @ prices[j] for j in range(devices)], 1
    ) * np.exp(noise * rng.standard_normal((n, devices)))
    return Samples(np.hstack([written, live]), cost, tuple(f"d{j}" for j in range(devices)), NAMES).check()


def test_ten_measurements_price_a_new_device() -> None:
    found = hold_out(DeviceNet(), fleet(), Trial("d0", 10, known=200, judged=150)).score
    # Noise of 2 % is a mean error of 1.6 %; half as much again for ten measurements of it.
    assert found.mape < 2.4


def test_a_device_that_runs_another_view_of_the_graph_is_found_out() -> None:
    samples, trial = fleet(), Trial("d7", 10, known=200, judged=150)
    seen, _ = hide(samples, trial)
    beliefs = DeviceNet(rehearsals=0, refits=0).fit(seen, "d7").beliefs
    assert beliefs[1].weight > 0.99
    assert hold_out(DeviceNet(), samples, trial).score.mape < 3


def test_without_a_measurement_the_order_is_already_known() -> None:
    assert hold_out(DeviceNet(), fleet(), Trial("d0", 0, known=200, judged=150)).score.spearman > 0.9


def test_counts_are_tilts_in_standard_deviations_and_codes_are_none() -> None:
    names = ("count_a", "at/0_x")
    samples = Samples(np.array([[1.0, 0], [3, 1]]), np.ones((2, 0)), (), names)
    # Mean 2, standard deviation 1; the code's column is left out.
    assert encoder(samples).standard_counts(samples).tolist() == [[-1.0], [1.0]]


def test_a_table_of_codes_alone_tilts_by_its_codes() -> None:
    samples = Samples(np.array([[0.0, 1], [1, 0]]), np.ones((2, 0)), (), ("at/0_x", "at/0_y"))
    assert encoder(samples).standard_counts(samples).tolist() == [[-1.0, 1.0], [1.0, -1.0]]


def test_a_cost_that_rises_by_a_share_per_count_is_learnt_where_no_price_says_so() -> None:
    samples = fleet(noise=0.002)
    big = samples.features[:, 0]
    tilted = samples.cost.copy()
    # 15 % of the whole cost for each standard deviation: more than prices of other devices can tell.
    tilted[:, 0] *= np.exp(0.15 * (big - big.mean()) / big.std())
    samples = replace(samples, cost=tilted)
    seen, _ = hide(samples, Trial("d0", 30, known=200, judged=150))
    found = DeviceNet(rehearsals=0, refits=0).fit(seen, "d0")
    # The last six steps are the six counts' tilts.
    steps = found.beliefs[0].mean[-6:]
    assert int(np.argmax(np.abs(steps))) == 0
    assert steps[0] > 0.03


def test_without_a_measurement_eleven_families_calibrate_and_seven_do_not() -> None:
    trial = Trial("d0", 0, known=200, judged=150)
    few, enough = (hold_out(DeviceNet(), fleet(n), trial).prediction for n in (8, 12))
    assert few.source == (
        "device_net, no measurement, no spec sheet, interval from 7 other families, too few to calibrate it"
    )
    assert enough.source == "device_net, no measurement, no spec sheet, interval from 11 other families"


def test_a_family_counts_once_however_many_devices_it_has() -> None:
    samples = replace(fleet(12), families={f"d{j}": "f" for j in range(1, 6)})
    found = hold_out(DeviceNet(), samples, Trial("d0", 0, known=200, judged=150)).prediction
    assert found.source.endswith("interval from 7 other families, too few to calibrate it")


def test_transfer_beats_the_ridge_on_ten_measurements() -> None:
    trial = Trial("d0", 10, known=200, judged=150)
    assert (
        hold_out(DeviceNet(), fleet(), trial).score.mape < hold_out(CountRidge(), fleet(), trial).score.mape
    )


def test_draws_agree_with_the_prediction_in_the_mean() -> None:
    seen, judges = hide(fleet(), Trial("d0", 20, known=200, judged=50))
    fitted = DeviceNet(rehearsals=0, refits=0).fit(seen, "d0")
    tables = fitted.tables(judges, 400, noise=False)
    assert np.abs(tables.mean(0) - np.log(fitted.predict(judges).value)).max() < 0.05


def test_a_family_is_hidden_whole() -> None:
    samples = replace(fleet(), families={"d0": "f", "d1": "f"}, profiles={"d1": {"cores": 4}})
    seen, _ = hide(samples, Trial("d0", 5, known=100))
    assert "d1" not in seen.devices
    assert seen.profiles == {}
    assert (~np.isnan(seen.column("d0"))).sum() == 5


def test_known_and_judging_networks_are_apart() -> None:
    known, judges = split(fleet(), Trial("d0", 5, known=100))
    assert (len(known), len(judges), len(np.intersect1d(known, judges))) == (100, 300, 0)


def test_more_measurements_than_networks_are_refused() -> None:
    with pytest.raises(BadValue, match="at most two thirds of 400"):
        split(fleet(), Trial("d0", 300, known=200))


@pytest.mark.parametrize("how", ["variance", "spread", "quantiles", "random"])
def test_a_choice_has_the_asked_number_of_different_networks(how: str) -> None:
    pool = np.arange(50, 200)
    found = choose(fleet(), "d0", 12, how, pool=pool)
    assert len(set(found.tolist())) == 12
    assert np.isin(found, pool).all()


def test_an_unknown_way_of_choosing_is_refused() -> None:
    with pytest.raises(UnknownName, match="no way of choosing named 'varians'; did you mean 'variance'"):
        choose(fleet(), "d0", 3, "varians")


def test_the_chosen_networks_do_not_depend_on_the_targets_costs() -> None:
    samples = fleet()
    other = replace(samples, cost=np.where(np.arange(8) == 0, samples.cost[:, ::-1], samples.cost))
    assert (choose(samples, "d0", 8) == choose(other, "d0", 8)).all()


def test_a_fixed_proxy_must_exist() -> None:
    with pytest.raises(BadValue, match="device must be one of d1"):
        Proxy(device="d9").fit(fleet(3), "d0")


def test_nonnegative_least_squares_of_a_hand_solved_case() -> None:
    # The free minimum of x^2 + y^2 + xy - y is (-1/3, 2/3); with x >= 0 it is (0, 1/2).
    assert nonnegative(np.array([[2.0, 1], [1, 2]]), np.array([0.0, 1])) == pytest.approx([0, 0.5])


def test_relative_fit_finds_the_prices() -> None:
    sums = np.random.default_rng(0).integers(0, 9, (50, 3)).astype(float) + 1
    found, error = relative_fit(sums, sums @ [3.0, 1, 2], ridge=1e-12)
    assert found == pytest.approx([3, 1, 2], rel=1e-6)
    assert error < 1e-6


def test_ridge_leave_one_out_errors_are_those_of_refits() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 3)), rng.normal(size=12)
    penalty = np.array([50.0])
    found = ridge(x, y, penalty).left_out
    # Refits standardise on 11 rows instead of 12, which the closed form leaves out: a tenth is that difference.
    for row in range(3):
        rest = np.delete(np.arange(12), row)
        own = ridge(x[rest], y[rest], penalty * 12 / 11)
        assert found[row] == pytest.approx(y[row] - own(x[row : row + 1])[0], abs=0.1)


def test_ridge_is_not_fooled_by_a_line_through_every_point() -> None:
    # More inputs than rows and hardly a penalty: the line meets every point, what it says of a left-out one is far off.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 30))
    y = x[:, 0] + 0.3 * rng.normal(size=12)
    found = ridge(x, y, np.array([1e-4]))
    assert np.abs(found(x) - y).max() < 1e-5
    own = []
    for i in range(12):
        rest = np.delete(np.arange(12), i)
        z = (x - found.centre) / found.spread
        kernel = (z[rest] - z[rest].mean(0)) @ (z[rest] - z[rest].mean(0)).T + 1e-4 * 12 / 100 * np.eye(11)
        weights = np.linalg.solve(kernel, y[rest] - y[rest].mean())
        away = (z[i] - z[rest].mean(0)) @ (z[rest] - z[rest].mean(0)).T
        own.append(y[i] - y[rest].mean() - away @ weights)
    assert found.left_out == pytest.approx(own, abs=1e-6)
    assert np.abs(found.left_out).mean() > 0.3


def test_adaproxy_of_a_doubled_device_doubles_the_weights() -> None:
    rng = np.random.default_rng(0)
    x = np.hstack([np.ones((40, 1)), rng.integers(0, 5, (40, 3))])
    weights = linear_proxy(x, x @ [1.0, 2, 3, 4])
    found = scale_prices(weights, x[:20], 2 * x[:20] @ [1.0, 2, 3, 4])
    assert x @ found.weights + found.offset == pytest.approx(2 * x @ [1.0, 2, 3, 4], rel=1e-3)


def test_a_falling_line_is_no_proxy() -> None:
    assert affine(np.arange(5.0), -np.arange(5.0)).slope == 1.0


def test_ties_share_a_rank() -> None:
    assert ranks(np.array([3.0, 1, 3, 2])).tolist() == [2.5, 0, 2.5, 1]


def test_spearman_of_a_hand_solved_case() -> None:
    # 1 - 6 * (1 + 1) / (4 * 15)
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.8)


def test_a_ceiling_of_pairs_ten_percent_apart() -> None:
    found = ceiling(np.array([1.1, 1.0, 2.2, 2.0]), [(0, 1), (2, 3)])
    assert (found.repeat_mape, found.mape) == pytest.approx((10, 7.0711), rel=1e-4)


def test_agreement_is_on_networks_both_were_measured_on() -> None:
    cost = np.array([[1.0, 2, 9], [2, 4, np.nan], [3, 1, 7], [4, 9, np.nan]])
    found = agreement(Samples(np.ones((4, 1)), cost, ("a", "b", "c")))
    # The two networks that a and c share, ranked the other way round.
    assert found[0, 2] == found[2, 0] == pytest.approx(-1)


def test_a_rule_says_reuse_adapt_or_undecided() -> None:
    rule = Rule(0.9, accept=0.9, reject=0.2)
    said = [rule.verdict("p", np.array([0.95] * n + [0.5] * (10 - n))).says for n in (10, 5, 1)]
    assert said == ["reuse", "undecided", "adapt"]


def test_correlations_with_itself_and_its_reverse() -> None:
    proxy = np.arange(5.0)
    assert correlations(proxy, np.stack([proxy, -proxy])).tolist() == pytest.approx([1, -1])


def test_four_pairs_decide_nothing() -> None:
    with pytest.raises(BadValue, match="networks measured on both must be 5 or more, got 4"):
        from_pairs("p", np.arange(4.0), np.arange(4.0), Rule())


def test_a_front_is_what_nothing_beats() -> None:
    accuracy, cost = np.array([1.0, 3, 2, 3]), np.array([1.0, 2, 3, 2])
    assert front(accuracy, cost).tolist() == [0, 1]


def test_a_row_on_half_of_the_tables_fronts_is_half_likely() -> None:
    assert likely(np.array([1.0, 2]), np.array([[1.0, 2], [2, 1]])).tolist() == [0.5, 1.0]


def test_regret_is_the_accuracy_lost_at_the_same_budget() -> None:
    accuracy, cost = np.array([1.0, 2, 5]), np.array([1.0, 2, 3])
    true = front(accuracy, cost)
    assert regret(accuracy, cost, true, np.array([0, 1])).tolist() == [0, 0, 3]
    assert recall(true, np.array([0, 1])) == pytest.approx(2 / 3)


def test_a_summary_has_mean_least_and_most() -> None:
    found = [hold_out(CountRidge(), fleet(), Trial("d0", 20, s, "random", 200, 100)).score for s in range(2)]
    both = sorted(s.mape for s in found)
    assert list(summary(found)["mape"].values()) == pytest.approx([sum(both) / 2, *both])


def test_unmeasured_networks_do_not_count() -> None:
    seen, judges = hide(fleet(), Trial("d0", 10, known=200, judged=50))
    answer = DeviceNet(rehearsals=0, refits=0).fit(seen, "d0").predict(judges)
    truth = judges.column("d0").copy()
    truth[10:] = np.nan
    assert score(answer, truth).networks == 10
