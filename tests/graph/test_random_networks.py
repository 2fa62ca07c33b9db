# SPDX-License-Identifier: Apache-2.0
"""Random networks with random dead channels: the result is the same function and never larger."""

import random
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.graph.properties import check
from tests.graph.random_networks import Drawn, draw_network

# Fixed examples, so that a run in CI says the same as one at home.
STEADY = settings(
    derandomize=True, deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck)
)


@st.composite
def networks(draw: st.DrawFn, steps: int = 8) -> Drawn:
    """A network whose every choice hypothesis can make simpler."""

    def choose(options: Sequence[Any]) -> Any:
        return options[draw(st.integers(0, len(options) - 1))] if len(options) > 1 else options[0]

    return draw_network(choose, steps=steps)


@settings(STEADY, max_examples=30)
@given(networks())
def test_what_hypothesis_draws_shrinks_exactly(drawn: Drawn) -> None:
    check(drawn)


@pytest.mark.parametrize("seed", range(0, 30))
def test_a_random_network_shrinks_exactly(seed: int) -> None:
    check(draw_network(random.Random(seed).choice))


@pytest.mark.slow
@settings(STEADY, max_examples=500)
@given(networks(12))
def test_more_of_what_hypothesis_draws_shrinks_exactly(drawn: Drawn) -> None:
    check(drawn)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 3000, 50))
def test_two_thousand_random_networks_shrink_exactly(start: int) -> None:
    for seed in range(start, start + 50):
        drawn = draw_network(random.Random(seed).choice, steps=6 + seed % 9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                check(drawn)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {drawn.model}") from error


def test_the_generator_reaches_every_operator() -> None:
    kinds = set()
    for seed in range(400):
        model = draw_network(random.Random(seed).choice, steps=12).model
        kinds |= {s.kind for s in model.steps}
        kinds |= {type(m).__name__ for m in model.layers}
    wanted = {
        "Conv1d", "Conv2d", "Conv3d", "ConvTranspose2d", "BatchNorm2d", "GroupNorm", "InstanceNorm2d",
        "LayerNorm", "RMSNorm", "Linear", "PReLU", "Gate", "Scale", "ChannelsLast", "MaxPool2d", "AvgPool2d",
        "add", "mul", "sub", "maximum", "cat", "chunk", "split", "slice", "flip", "shuffle", "option_a",
        "pad_space", "upsample", "Pick", "Mix", "select", "repeat", "interleave", "slide", "windows",
        "mean_space", "max_space", "over_channels", "softmax", "flatten", "cumsum", "constant",
    }  # fmt: skip
    assert wanted <= kinds
