# SPDX-License-Identifier: Apache-2.0
"""The logic of the scripts that measure shrinking, on networks small enough to count by hand."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.networks import make, make_planted, places, plant_
from bench.record import Run, keep, table
from bench.shrink import linear, networks, rivals, train_sparse
from bench.shrink.dnnshifter import contiguous, shrunk_resnet, shrunk_vgg
from bench.shrink.quantised import in_training
from bench.shrink.subjects import ZOO, gone, names, parameters
from edgeshift.core.errors import UnknownName
from edgeshift.graph import shrink, shrink_onnx
from edgeshift.graph.surgery import copy_module
from edgeshift.models import build, resolve

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def vgg(*dead: int, shift: float) -> nn.Module:
    """Three convolutions of 4, 6 and 5 filters; some of the second's are zero, their norms give `shift`."""
    ref = resolve("vgg", input_shape=(3, 8, 8), options={"convs": (2, 1), "widths": (6, 5)})
    model = build(ref).eval()
    with torch.no_grad():
        for index in dead:
            model.conv1_2.weight[index] = 0
            model.bn1_2.bias[index] = shift
    return model


def difference(model: nn.Module, small: nn.Module, x: Tensor = X) -> float:
    with torch.no_grad():
        return float((model(x) - small(x)).abs().max())


def test_dnnshifters_rule_is_exact_where_dead_filters_give_nothing() -> None:
    model = vgg(1, 4, shift=-0.5)
    small = shrunk_vgg(model)
    assert small.conv1_2.weight.shape == (4, 6, 3, 3)
    assert small.conv2_1.weight.shape == (5, 4, 3, 3)
    assert difference(model, small) < 1e-5  # float32: the norm is fused


def test_dnnshifters_rule_drops_what_a_dead_filter_gives() -> None:
    model = vgg(1, 4, shift=0.5)
    assert difference(model, shrunk_vgg(model)) > 1e-3
    assert difference(model, shrink(model, X).model) < 1e-5  # float32


def test_dnnshifters_weights_are_not_contiguous_until_copied() -> None:
    small = shrunk_vgg(vgg(1, 4, shift=0.0))
    assert not small.conv2_1.weight.is_contiguous()
    assert all(p.is_contiguous() for p in contiguous(small).parameters())


def test_dnnshifters_resnet_rule_keeps_a_layer_that_is_all_zero_and_the_two_it_leaves_out() -> None:
    model, (x,) = make("resnet50", small=True)
    with torch.no_grad():
        block = model.layer2[0]
        block.conv1.weight[:3] = 0
        block.bn1.bias[:3] = -9.0  # nothing after ReLU
        model.layer1[0].conv2.weight.zero_()
        block.conv3.weight[:4] = 0
    small = shrunk_resnet(model)
    width = block.conv1.weight.shape[0]
    assert small.layer2[0].conv1.weight.shape[0] == width - 3
    assert small.layer2[0].conv2.weight.shape[1] == width - 3
    assert small.layer1[0].conv2.weight.shape == model.layer1[0].conv2.weight.shape
    assert small.layer2[0].conv3.weight.shape[0] == block.conv3.weight.shape[0]
    assert difference(model, small, x) < 1e-4  # float32


def test_folding_batch_norm_keeps_the_function() -> None:
    for name in ("resnet50", "mobilenet_v3-small"):
        model, (x,) = make(name, small=True)
        small = rivals.folded(model, x)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in small.modules())
        with torch.no_grad():
            torch.testing.assert_close(
                small(x), model(x), rtol=1e-3, atol=1e-3
            )  # float32 through many layers


def test_what_went_is_read_off_the_shapes() -> None:
    model, inputs, planted = make_planted("micro.plain_conv", 0.5, kinds=("zero", "unread"))
    small = shrink(model, inputs).model
    for record in planted:
        assert gone(model, small, record) == record.removable
        assert gone(model, model, record) == 0


def test_heads_count_as_units_though_three_weights_hold_them() -> None:
    model, inputs, planted = make_planted("vit_tiny-fused", 0.4, small=True)
    small = shrink(model, inputs).model
    heads = [record for record in planted if record.place.site.units == "heads"]
    assert [gone(model, small, record) for record in heads] == [record.count for record in heads]


@pytest.mark.parametrize("name", sorted(ZOO))
def test_the_zoos_sites_exist(name: str) -> None:
    with torch.device("meta"):
        model = build(resolve(name))
    assert {place.site for place in places(model, ZOO[name])} == set(ZOO[name])


def test_the_figure_has_the_shelf_and_the_zoo_but_no_micro_networks() -> None:
    assert {"resnet50", "resnet110", "gru_speech", "vgg16_bn"} <= set(names())
    assert not any(name.startswith("micro.") for name in names())


def test_torch_pruning_is_exact_on_zeros_and_not_on_constants() -> None:
    pytest.importorskip("torch_pruning")
    from bench.shrink.against_torch_pruning import error_of, ours, theirs, wide

    for kinds, exact in ((("zero", "unread"), True), (("constant",), False)):
        model, inputs, planted = make_planted("micro.plain_conv", 0.5, kinds=kinds)
        model = model.double()
        cut = theirs(copy_module(model), wide(inputs), planted)
        assert (error_of(model, cut.model, inputs) < 1e-9) == exact
        assert error_of(model, ours(model, wide(inputs)).model, inputs) < 1e-9
        assert cut.skipped == 0


@pytest.mark.parametrize("family", sorted(linear.FAMILIES))
@pytest.mark.parametrize("millions", [16, 300])
def test_families_have_the_parameters_asked_for(family: str, millions: int) -> None:
    with torch.device("meta"):
        count = parameters(linear.FAMILIES[family].build(millions * 1e6))
    assert count == pytest.approx(millions * 1e6, rel=0.05)  # widths and depths are whole numbers


def test_the_peak_is_at_least_what_is_held() -> None:
    linear.forget_peak()
    assert linear.resident("VmHWM") >= 0.9 * linear.resident("VmRSS") > 0


def test_a_sparse_network_is_the_same_at_every_call() -> None:
    first, again = (train_sparse.fresh("resnet50").state_dict() for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert first["fc.weight"].shape[0] == 10
    with pytest.raises(UnknownName, match="no sparse network named 'resnet5'; did you mean 'resnet50'"):
        train_sparse.fresh("resnet5")


def test_levels_halve_to_a_256th() -> None:
    assert train_sparse.LEVELS[0] == 1
    assert 1 / train_sparse.LEVELS[-1] == 256


def test_findings_name_every_place_that_fell_short() -> None:
    row = {"network": "a", "share": 0.3, "traced": True, "exact": True, "removed": 3, "removable": 4}
    row |= {"float64_error": 0.0, "float32_error": 0.0, "short": {"conv": [3, 4]}}
    bad = {"network": "b", "share": 0.3, "traced": False, "exact": False, "error": "cannot", "removable": 1}
    said = "\n".join(networks.findings([row, bad]))
    assert "2 runs of 2 networks: 1 traced, 1 proved exact, 0 lost all" in said
    assert "a at 30%: 3 of 4; short at {'conv': [3, 4]}" in said
    assert "b at 30%: cannot" in said


def test_a_record_holds_rows_card_and_machine(tmp_path: Path) -> None:
    folder = keep(Run("a_claim", "What it says.", seeds=(3,)), [{"n": 1}], ["It held."], tmp_path)
    assert json.loads((folder / "rows.json").read_text()) == [{"n": 1}]
    card = (folder / "card.md").read_text()
    assert card.startswith("# a_claim\n\nWhat it says.\n\n- It held.\n")
    around = json.loads((folder / "environment.json").read_text())
    assert around["seeds"] == [3]
    assert around["threads"] == 1
    assert {"command", "date", "machine", "cpu_flags", "versions", "repeats", "spread"} <= set(around)
    assert "torch" in around["versions"]


def test_a_table_lines_up() -> None:
    assert table([{"a": 1.23456, "b": None}], ("a", "b")) == "    a  b\n1.235  -"


def test_the_sites_of_the_residual_family_are_all_planted() -> None:
    family = linear.FAMILIES["deep resnet"]
    model = nn.Sequential(linear.Residual(), linear.Residual())
    assert [p.count for p in plant_(model, family.sites, 0.5)] == [128, 128]


@pytest.mark.filterwarnings("ignore")  # of torch, about its exporter and its quantisation
def test_a_network_in_training_with_quantisation_shrinks_as_torch_exports_it(tmp_path: Path) -> None:
    file = in_training("resnet20", tmp_path)
    shrunk = shrink_onnx(file)
    assert shrunk.proof is not None
    assert shrunk.proof.max_error_float64 == 0
    # Two of five channels within blocks go, and weights take a byte each instead of four.
    assert shrunk.report.after.parameters < 0.7 * shrunk.report.before.parameters
    assert len(shrunk.to_bytes()) < len(file) / 4
