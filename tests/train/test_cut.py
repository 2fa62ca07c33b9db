# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch import nn

from edgeshift.core.errors import BadValue, NotFinite, UnknownName
from edgeshift.core.values import ChannelGroup, Masks
from edgeshift.train.cut import Cut, maskable


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(8, 5))


def group(name: str, n: int) -> ChannelGroup:
    return ChannelGroup(name, {f"{name}.weight": np.arange(n, dtype=np.int64).reshape(n, 1)}, 1.0)


def test_weights_of_convolutions_and_linear_layers_may_be_masked() -> None:
    assert maskable(network()) == ("0.weight", "3.weight")


def test_a_shared_weight_is_named_once() -> None:
    layer = nn.Linear(3, 3)
    assert maskable(nn.Sequential(layer, nn.ReLU(), layer)) == ("0.weight",)


def test_all_is_kept_without_scoring() -> None:
    masks = Cut("magnitude", "unstructured").masks(network(), 1.0, ())
    assert all(m.all() for m in masks.values())


def test_the_smallest_weights_go() -> None:
    model = network()
    masks = Cut("magnitude", "unstructured").masks(model, 0.25, ())
    sizes = {n: p.detach().abs() for n, p in model.named_parameters()}
    stay = torch.cat([sizes[n][m] for n, m in masks.items()])
    go = torch.cat([sizes[n][~m] for n, m in masks.items()])
    assert len(stay) == 16  # of 24 + 40
    assert stay.min() >= go.max()


def test_what_is_excluded_has_no_mask() -> None:
    assert list(Cut("magnitude", "unstructured", ("3.*",)).masks(network(), 0.5, ())) == ["0.weight"]


def test_a_group_with_an_excluded_weight_stays_whole() -> None:
    cut = Cut("magnitude", "channel", ("3.*",), pattern_options={"cost": "channels"})
    assert list(cut.masks(network(), 0.5, (group("0", 4), group("3", 5)))) == ["0.weight"]


def test_a_glob_that_matches_nothing_is_refused() -> None:
    with pytest.raises(
        BadValue, match=r"exclude must be a glob that matches a parameter such as 0\.weight, got 'fc'"
    ):
        Cut("magnitude", "unstructured", ("fc",)).masks(network(), 0.5, ())


@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_nothing_comes_back_within_earlier_masks(criterion: str) -> None:
    model, cut = network(), Cut(criterion, "unstructured")
    before = cut.masks(model, 0.5, ())
    within = Masks({n: m.numpy() for n, m in before.items()})
    after = cut.masks(model, 0.25, (), within=within)
    assert all((before[n] | ~after[n]).all() for n in before)
    assert sum(int(m.sum()) for m in after.values()) == 16


def test_a_weight_that_is_nan_is_refused_by_name() -> None:
    model = network()
    with torch.no_grad():
        model[3].weight[2, 2] = float("nan")
    with pytest.raises(NotFinite, match=r"score of 3\.weight must be finite, got nan"):
        Cut("magnitude", "unstructured").masks(model, 0.5, ())


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (Cut("magnitud", "unstructured"), "no criterion named 'magnitud'; did you mean 'magnitude'"),
        (Cut("magnitude", "chanel"), "no pattern named 'chanel'; did you mean 'channel'"),
    ],
)
def test_unknown_names_are_refused(cut: Cut, says: str) -> None:
    with pytest.raises(UnknownName, match=says):
        cut.check()


def test_unknown_options_are_refused() -> None:
    with pytest.raises(BadValue, match=r"option of channel must be one of .*cost, reduce"):
        Cut("magnitude", "channel", pattern_options={"flor": 0.1}).check()


def test_a_model_without_channel_groups_is_refused() -> None:
    with pytest.raises(BadValue, match="channel groups must be at least one"):
        Cut("magnitude", "channel").masks(network(), 0.5, ())
