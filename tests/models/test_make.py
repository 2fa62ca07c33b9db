# SPDX-License-Identifier: Apache-2.0
"""From a reference to a network."""

import pytest
import torch

from edgeshift import models
from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.values import ModelRef


def test_the_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    ref = models.resolve("resnet20")
    models.build(ref)
    models.example(ref)
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_gives_other_weights() -> None:
    ref = models.resolve("resnet20")
    assert not torch.equal(models.build(ref).conv1.weight, models.build(ref, seed=1).conv1.weight)


def test_options_of_the_reference_override_the_preset() -> None:
    ref = ModelRef("resnet20", 10, (3, 32, 32), {"width": 8})
    assert models.build(ref).conv1.weight.shape == (8, 3, 3, 3)


def test_an_example_has_the_shape_of_the_reference() -> None:
    x = models.example(models.resolve("resnet20", input_shape=(1, 5, 9)), batch=3)
    assert (x.shape, x.dtype) == ((3, 1, 5, 9), torch.float32)


def test_examples_differ_by_seed_only() -> None:
    ref = models.resolve("resnet20")
    assert torch.equal(models.example(ref), models.example(ref))
    assert not torch.equal(models.example(ref), models.example(ref, seed=1))


def test_a_name_that_is_gone_is_refused() -> None:
    with pytest.raises(UnknownName, match="no model named 'resnet21'"):
        models.build(ModelRef("resnet21", 10, (3, 32, 32)))


def test_a_bad_reference_is_refused() -> None:
    with pytest.raises(BadValue, match="classes must be at least 2, got 1"):
        models.build(ModelRef("resnet20", 1, (3, 32, 32)))
