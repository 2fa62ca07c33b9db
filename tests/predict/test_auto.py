# SPDX-License-Identifier: Apache-2.0
"""Predictors mixed by their errors, and one made of other devices' costs."""

import numpy as np
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.predict.hold_out import Trial, hide, hold_out
from edgeshift.predict.models.auto import Auto, Mixed
from edgeshift.predict.models.count_ridge import CountRidge
from edgeshift.predict.models.device_net import DeviceNet
from edgeshift.predict.models.sources import Sources
from tests.predict.test_transfer import fleet

TRIAL = Trial("d0", 20, known=200, judged=150)


def test_weights_follow_say_over_squared_error() -> None:
    seen, _ = hide(fleet(), TRIAL)
    mixed = Auto(rehearsals=0).fit(seen, "d0")
    assert isinstance(mixed, Mixed)
    squares = [float(np.mean(part.left_out() ** 2)) for part in mixed.parts]
    want = np.array([2.0, 1.0, 1.0]) / squares
    assert mixed.weights == pytest.approx(want / want.sum(), rel=1e-6)


def test_a_mixture_lies_between_its_parts() -> None:
    seen, judges = hide(fleet(), TRIAL)
    mixed = Auto(rehearsals=0).fit(seen, "d0")
    assert isinstance(mixed, Mixed)
    parts = np.stack([part.predict(judges).value for part in mixed.parts])
    value = mixed.predict(judges).value
    assert (value >= parts.min(0) - 1e-9).all()
    assert (value <= parts.max(0) + 1e-9).all()


def test_few_measurements_leave_device_net_alone() -> None:
    seen, _ = hide(fleet(), Trial("d0", 5, known=200, judged=150))
    assert Auto(rehearsals=0).tried(seen, "d0") == ("device_net",)


def test_a_device_that_is_a_mixture_of_others_is_found_by_sources() -> None:
    samples = fleet(noise=0.0)
    cost = samples.cost.copy()
    cost[:, 0] = np.sqrt(cost[:, 1] * cost[:, 2])
    samples = type(samples)(samples.features, cost, samples.devices, samples.feature_names)
    found = hold_out(Sources(), samples, TRIAL).score.mape
    assert found < 1.0
    assert found < hold_out(CountRidge(), samples, TRIAL).score.mape / 2


def test_sources_need_three_measurements() -> None:
    seen, _ = hide(fleet(), Trial("d0", 2, known=200, judged=150))
    with pytest.raises(BadValue, match="at least 3, got 2"):
        Sources().fit(seen, "d0")


def test_refitted_errors_are_larger_than_the_closed_forms() -> None:
    # The closed form keeps what the left-out measurement has helped to choose; over devices it looks too good.
    seen = [hide(fleet(noise=0.1), Trial(f"d{j}", 12, known=200, judged=50))[0] for j in range(6)]
    size = [
        [
            np.mean(np.abs(DeviceNet(rehearsals=0, refits=refits).fit(s, f"d{j}").left_out()))
            for refits in (0, 25)
        ]
        for j, s in enumerate(seen)
    ]
    closed, refitted = np.mean(size, axis=0)
    assert refitted > closed


def test_intervals_from_refits_cover_what_they_promise() -> None:
    shares = [
        hold_out(
            DeviceNet(rehearsals=0),
            fleet(noise=0.1, seed=seed),
            Trial("d1", 20, seed, "random", known=200, judged=150),
        ).score.coverage
        for seed in range(12)
    ]
    # 20 errors at level 0.9: 90.5 on average, 6.5 for one draw of them, three standard errors of twelve draws.
    assert np.mean(shares) == pytest.approx(90.5, abs=3 * 6.5 / np.sqrt(12))


def test_one_refit_is_refused() -> None:
    with pytest.raises(BadValue, match="refits must be 0, or 2 or more"):
        DeviceNet(refits=1)
