# SPDX-License-Identifier: Apache-2.0
"""What a proof allows in the model's own dtype."""

import copy

import pytest
import torch
from torch import nn

from edgeshift.core.errors import NotExact
from edgeshift.graph import shrink, trace
from edgeshift.graph.analyse import analyse
from edgeshift.graph.prove import FLOAT32_TOLERANCE, prove, rounding
from edgeshift.graph.surgery import cut

X = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))


def cancelling() -> nn.Sequential:
    """The output is a small difference of large sums: float32 answers are off by more than 1e-5 of it."""
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(64, 16, generator=generator))
        model[0].weight[32:] = model[0].weight[:32] * (1 + 1e-4 * torch.rand(32, 1, generator=generator))
        model[0].bias.zero_()
        model[0].weight[::4] = 0
        model[2].weight.copy_(torch.randn(3, 64, generator=generator))
        model[2].weight[:, 32:] = -model[2].weight[:, :32]
        model[2].bias.zero_()
    return model.eval()


def test_a_model_that_rounds_by_more_than_the_tolerance_may_round_in_another_order() -> None:
    proof = shrink(cancelling(), X).proof
    assert proof is not None
    assert proof.max_error_float64 < 1e-9
    assert proof.max_error > FLOAT32_TOLERANCE


def test_rounding_is_the_distance_from_the_float64_answers() -> None:
    model = cancelling()
    wide = copy.deepcopy(model).double()
    with torch.no_grad():
        want = wide(X.double())
        off = float((model(X).double() - want).abs().max() / want.abs().max())
    assert rounding(model, (X,)) == off
    assert off > FLOAT32_TOLERANCE
    assert rounding(wide, (X.double(),)) == 0


def test_a_difference_beyond_what_the_model_rounds_is_refused() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        model[0].weight[2] = 0
    verdict = analyse(trace(model, (X,)))
    small, plan = cut(model, verdict)
    with torch.no_grad():
        small[0].weight[0, 0] += 1e-3
    with pytest.raises(NotExact, match=r"the shrunk model must agree within 1e-05, got .* on"):
        prove(model, lambda m: m, small, verdict, plan, (X,), 1e-9)
