# SPDX-License-Identifier: Apache-2.0
"""What every predictor promises, on four small devices with a known truth."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.predict import MODELS
from edgeshift.predict.network import COUNT_NAMES, count_matrix
from edgeshift.predict.samples import Samples
from tests.predict.made import networks, queries, truth

SEEN, NEW = networks(60), networks(12, seed=1)
SPEC = {"peak_gmacs": 10.0, "bandwidth_gbs": 5.0}
FAST: dict[str, dict[str, Any]] = {
    "stacked": {"trees": 5},
    "statistical": {"trees": 5},
    "graph_net": {"width": 8, "steps": 5, "draws": 1},
}
# Need a recorded timeline or measured layers, which their own tests bring.
OTHERWISE = ("what_if", "layer_table")
NAMES = [name for name in MODELS.names() if name not in OTHERWISE]


def given(known: int = 40) -> Samples:
    """Three devices measured on every network, and "here" on some."""
    cost = np.stack([truth(SEEN, step) * scale for step, scale in ((8, 1), (1, 3), (4, 0.5), (16, 1.5))], 1)
    cost *= np.exp(0.01 * np.random.default_rng(0).standard_normal(cost.shape))
    cost[known:, 0] = np.nan
    names = ("here", "a", "b", "c")
    return Samples(count_matrix(SEEN), cost, names, COUNT_NAMES, SEEN, dict.fromkeys(names, SPEC)).check()


def fitted(name: str, samples: Samples, seed: int = 0) -> Any:
    return MODELS.make(name, **FAST.get(name, {})).fit(samples, "here", seed)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_positive_and_inside_its_interval(name: str) -> None:
    found = fitted(name, given()).predict(queries(NEW)).check()
    assert found.value.shape == (12,)
    assert found.source
    assert found.unit == "ms"


@pytest.mark.parametrize("name", NAMES)
def test_equal_samples_and_seed_give_equal_answers(name: str) -> None:
    first, second = (fitted(name, given(), 3).predict(queries(NEW)).value for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_costs_of_queries_are_not_looked_at(name: str) -> None:
    model = fitted(name, given())
    spoilt = replace(queries(NEW), cost=np.full((12, 1), 1e9), devices=("here",))
    assert (model.predict(queries(NEW)).value == model.predict(spoilt).value).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_level_gives_wider_intervals(name: str) -> None:
    model = fitted(name, given())
    narrow, wide = model.predict(queries(NEW), 0.5), model.predict(queries(NEW), 0.9)
    assert (wide.high - wide.low >= narrow.high - narrow.low).all()


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_left_as_they_were(name: str) -> None:
    samples = given()
    before = samples.cost.copy(), samples.features.copy()
    fitted(name, samples)
    assert np.array_equal(samples.cost, before[0], equal_nan=True)
    assert (samples.features == before[1]).all()


@pytest.mark.parametrize("name", MODELS.names())
def test_with_nothing_to_learn_from_it_says_what_it_needs(name: str) -> None:
    bare = replace(given(0), cost=np.full((60, 1), np.nan), devices=("here",), profiles={}, networks=())
    with pytest.raises(BadValue, match="must be"):
        fitted(name, bare)
