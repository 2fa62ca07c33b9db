# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from edgeshift.core.errors import BadValue
from edgeshift.sparsity.patterns.unstructured import Unstructured


def kept(scores: dict[str, list[float]], keep: float) -> dict[str, list[bool]]:
    masks = Unstructured().masks({n: torch.tensor(s) for n, s in scores.items()}, keep)
    return {n: m.tolist() for n, m in masks.items()}


@pytest.mark.parametrize("total", [1, 2, 3, 10, 997])
@pytest.mark.parametrize("keep", [0, 0.001, 0.2, 1 / 3, 0.5, 0.8, 0.999, 1])
def test_the_count_is_exact(total: int, keep: float) -> None:
    scores = torch.rand(total, generator=torch.Generator().manual_seed(0))
    assert int(Unstructured().masks({"w": scores}, keep)["w"].sum()) == round(keep * total)


@pytest.mark.parametrize("keep", [0.1, 0.37, 0.5, 0.9])
def test_the_count_is_exact_when_all_scores_are_equal(keep: float) -> None:
    assert int(Unstructured().masks({"w": torch.zeros(100)}, keep)["w"].sum()) == round(keep * 100)


def test_the_highest_of_all_tensors_together_stay() -> None:
    assert kept({"a": [0.1, 5.0], "b": [3.0, 0.2]}, 0.5) == {"a": [False, True], "b": [True, False]}


def test_the_earlier_of_equals_stays() -> None:
    assert kept({"a": [1.0, 2.0, 1.0], "b": [1.0, 1.0]}, 0.6) == {
        "a": [True, True, True],
        "b": [False, False],
    }


def test_one_element_is_kept_or_not() -> None:
    assert kept({"a": [0.0]}, 1) == {"a": [True]}
    assert kept({"a": [0.0]}, 0) == {"a": [False]}


def test_more_than_is_left_cannot_be_kept() -> None:
    with pytest.raises(BadValue, match="number to keep must be 0 to the 1 that are left, got 2"):
        Unstructured().masks({"a": torch.tensor([1.0, float("-inf"), float("-inf"), float("-inf")])}, 0.5)


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(BadValue, match="weights to mask must be at least one convolution or linear weight"):
        Unstructured().covers((), ())
