# SPDX-License-Identifier: Apache-2.0
"""Predictors that add up kernels, on a device whose truth is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.devices.cases import conv, grid
from edgeshift.predict import MODELS
from edgeshift.predict.layers import layers_of, line, probe_row, roughly
from edgeshift.predict.network import KERNEL_COLUMNS, count_matrix
from edgeshift.predict.onnx_network import network_of
from edgeshift.predict.rates import from_networks
from edgeshift.predict.samples import Samples
from tests.predict.made import chain, networks, queries, samples, truth

KNOWN = networks(60)
UNSEEN = networks(20, seed=1)
FAST: dict[str, dict[str, Any]] = {
    "stacked": {"trees": 10},
    "statistical": {"trees": 10},
    "graph_net": {"width": 16, "steps": 20, "draws": 1},
}
# Layer by layer, without a call's cost: what a perfect profile holds.
SPEC = {"peak_gmacs": 10.0, "bandwidth_gbs": 5.0}


def error(name: str, given: Samples, **options: Any) -> float:
    """Mean relative error on networks that were not measured."""
    fitted = MODELS.make(name, **{**FAST.get(name, {}), **options}).fit(given, "here")
    found = fitted.predict(queries(UNSEEN)).check()
    return float(np.abs(found.value / truth(UNSEEN) - 1).mean())


@pytest.mark.parametrize(("name", "bound"), [("macs", 0.30), ("statistical", 0.10), ("stacked", 0.02)])
def test_unseen_networks_are_predicted_from_measured_ones(name: str, bound: float) -> None:
    # The bounds order the models: padding and launch times are what MACs do not know.
    assert error(name, samples(KNOWN, 60)) < bound


def test_rates_alone_find_the_padding() -> None:
    layer_ms = from_networks(KNOWN, truth(KNOWN))
    rows = UNSEEN[0].kernel_rows
    assert layer_ms.call_ms + layer_ms(rows).sum() == pytest.approx(truth(UNSEEN)[0], rel=1e-3)


def test_a_roofline_needs_no_measurement() -> None:
    given = replace(samples(KNOWN, 0), profiles={"here": SPEC})
    # Work and bytes hide each other in the model and add up in the device; nothing is padded in the model.
    assert error("roofline", given) < 0.5


def test_measurements_put_the_roofline_on_the_line() -> None:
    bare = replace(samples(KNOWN, 0), profiles={"here": SPEC})
    assert error("roofline", replace(samples(KNOWN, 20), profiles={"here": SPEC})) < error("roofline", bare)


@pytest.mark.parametrize("name", ["layer_table", "statistical", "stacked", "roofline"])
def test_measured_layers_stand_in_for_measured_networks(name: str) -> None:
    rows = np.concatenate([network.kernel_rows for network in KNOWN])
    single = [truth((network,))[0] for network in KNOWN]
    assert len(single) == 60
    ms = roughly(rows) * 1.7
    profile = {**SPEC, "layers": {"rows": rows.tolist(), "ms": ms.tolist()}}
    given = replace(samples(KNOWN, 0), profiles={"here": profile})
    fitted = MODELS.make(name, **FAST.get(name, {})).fit(given, "here")
    found = fitted.predict(queries(KNOWN[:5]))
    told = np.array([1.7 * roughly(network.kernel_rows).sum() for network in KNOWN[:5]])
    tolerance = 0.9 if name == "roofline" else 0.1
    np.testing.assert_allclose(found.value, told, rtol=tolerance)


def test_the_interval_is_wide_where_nothing_was_measured() -> None:
    given = replace(samples(KNOWN, 0), profiles={"here": SPEC})
    found = MODELS.make("roofline").fit(given, "here").predict(queries(UNSEEN))
    assert (found.high / found.low > 4).all()


@pytest.mark.parametrize("name", ["macs", "statistical", "stacked"])
def test_intervals_hold_most_unseen_networks(name: str) -> None:
    fitted = MODELS.make(name, **FAST.get(name, {})).fit(samples(KNOWN, 60), "here")
    found, told = fitted.predict(queries(UNSEEN), 0.9), truth(UNSEEN)
    assert ((found.low <= told) & (told <= found.high)).mean() >= 0.75


@pytest.mark.parametrize("name", ["stacked", "graph_net", "roofline", "layer_table", "what_if"])
def test_graphs_are_asked_for(name: str) -> None:
    given = replace(
        samples(KNOWN, 60), networks=(), profiles={"here": {**SPEC, "layers": {"rows": [], "ms": []}}}
    )
    with pytest.raises(BadValue, match=f"networks for {name} must be 60 graphs|layers of here"):
        MODELS.make(name).fit(given, "here")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("macs", "measurements on here for macs must be at least 2, got 0"),
        ("statistical", "measurements on here for statistical must be at least 20, or layers, got 0"),
        ("stacked", "measurements on here for stacked must be at least 30, or layers, got 0"),
        ("graph_net", "measurements on here for graph_net must be at least 30, got 0"),
        ("layer_table", "layers of here for layer_table must be measured; run edgeshift probe there, got 0"),
        ("roofline", "peak_gmacs and bandwidth_gbs of here must be in its profile"),
        ("what_if", "timelines of here must be those of some of the networks, got 0"),
    ],
)
def test_what_is_missing_is_named(name: str, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        MODELS.make(name).fit(samples(KNOWN, 0), "here")


@pytest.mark.parametrize("name", ["macs", "statistical", "stacked", "graph_net"])
def test_equal_samples_and_seed_give_equal_answers(name: str) -> None:
    make = MODELS.make(name, **FAST.get(name, {}))
    first, second = (
        make.fit(samples(KNOWN, 40), "here", 3).predict(queries(UNSEEN[:3])).value for _ in range(2)
    )
    assert (first == second).all()


def test_the_graph_net_does_not_care_in_which_order_kernels_stand() -> None:
    fitted = MODELS.make("graph_net", **FAST["graph_net"]).fit(samples(KNOWN, 40), "here")
    one = fitted.predict(queries(UNSEEN[:4])).value
    other = fitted.predict(queries(UNSEEN[:4][::-1])).value[::-1]
    np.testing.assert_allclose(one, other, rtol=1e-5)  # float32 sums in another order


@pytest.mark.slow
def test_the_graph_net_learns_a_device() -> None:
    assert error("graph_net", samples(KNOWN, 60), width=32, steps=500) < 0.06


def test_a_line_through_few_points_has_slope_one() -> None:
    found = line(np.log([1.0, 2.0, 4.0]), np.log([3.0, 6.0, 12.0]))
    assert (found.slope, found.offset) == (1.0, pytest.approx(np.log(3)))
    np.testing.assert_allclose(found.residuals, 0, atol=1e-12)


def test_left_out_errors_are_those_of_refits() -> None:
    x, y = np.arange(9.0), np.arange(9.0) * 2 + np.array([0, 1, 0, -1, 0, 2, 0, 1, 0])
    keep = np.arange(9) != 3
    slope, offset = np.polyfit(x[keep], y[keep], 1)
    assert line(x, y).residuals[3] == pytest.approx(y[3] - (slope * 3 + offset))


@pytest.mark.parametrize("case", [case for case in grid() if case.first[0].op == "conv"][:60:7], ids=str)
def test_a_layer_of_the_probe_is_described_as_the_network_around_it(case: Any) -> None:
    from dataclasses import asdict

    from edgeshift.devices.cases import model

    rows = network_of(model(case.first + case.rest)).kernel_rows
    mine = np.array([probe_row(asdict(layer)) for layer in case.rest])
    depth = KERNEL_COLUMNS.index("depth")
    np.testing.assert_array_equal(rows[len(case.first) :, :depth], mine[:, :depth])


def test_a_chain_of_the_probe_is_shared_by_work() -> None:
    layers = [vars(conv(8, 16, 8)) | {}, vars(conv(16, 8, 8)) | {}]
    given = replace(samples(KNOWN, 0), profiles={"here": {"probe_rows": [{"layers": layers, "ms": 2.0}]}})
    found = layers_of(given, "here")
    assert found is not None
    assert found.ms.sum() == pytest.approx(2.0)
    assert len(found) == 2


# One network on the base, 1 ms of convolutions and .1 ms of linear layer.
PARENT = chain("parent", (16, 32))
LINES = {"parent": {"tasks": [["c", "Conv", 1.0], ["g", "Gemm", 0.1]], "call_ms": 0.05}}


def what_if(target: str, **options: Any) -> Any:
    """Base with 10 GMAC/s, "twice" with twice the rates."""
    rows = np.concatenate([network.kernel_rows for network in KNOWN])
    slow = {"layers": {"rows": rows, "ms": roughly(rows)}, "timelines": LINES}
    fast = {"layers": {"rows": rows, "ms": roughly(rows) / 2}}
    found = (PARENT, *KNOWN)
    given = replace(samples(found, 0), profiles={"slow": slow, "twice": fast})
    return MODELS.make("what_if", base="slow", **options).fit(given, target)


def test_an_untouched_timeline_is_replayed_as_it_was() -> None:
    assert what_if("slow").predict(queries((PARENT,))).value[0] == pytest.approx(1.15)


def test_a_device_twice_as_fast_halves_the_operators_but_not_the_call() -> None:
    assert what_if("twice").predict(queries((PARENT,))).value[0] == pytest.approx(0.55 + 0.05, rel=1e-3)


def test_a_narrower_network_is_predicted_from_its_parents_timeline() -> None:
    child = chain("parent/half", (8, 16))
    found = what_if("slow").predict(queries((child,))).value[0]
    convs = roughly(child.kernel_rows[:2]).sum() / roughly(PARENT.kernel_rows[:2]).sum()
    linear = roughly(child.kernel_rows[2:]).sum() / roughly(PARENT.kernel_rows[2:]).sum()
    assert found == pytest.approx(convs + 0.1 * linear + 0.05, rel=0.02)


def test_a_malformed_timeline_is_refused() -> None:
    broken = {
        "timelines": {"parent": {"tasks": [["c"]]}},
        "layers": {"rows": PARENT.kernel_rows, "ms": [1, 1, 1]},
    }
    given = replace(samples((PARENT,), 0), profiles={"slow": broken})
    with pytest.raises(BadValue, match="timeline must be tasks of name, operator and ms, and call_ms"):
        MODELS.make("what_if").fit(given, "slow")


def changed(base: str, target: str, measured: int) -> Any:
    """`measured` networks on "here" and on "there", which pads to 16 and is slower; timelines of the unseen ones."""
    found = (*KNOWN[:measured], *UNSEEN)
    cost = np.stack([truth(found), 1.7 * truth(found, 16)], 1)
    cost[measured:] = np.nan
    lines = {
        n.name: {"tasks": [["all", "Conv", float(ms) - 0.02]], "call_ms": 0.02}
        for n, ms in zip(UNSEEN, truth(UNSEEN), strict=True)
    }
    renamed = [replace(n, name=f"known-{n.name}") for n in KNOWN[:measured]]
    given = Samples(
        count_matrix(found), cost, ("here", "there"), networks=(*renamed, *UNSEEN),
        profiles={"here": {"timelines": lines}},
    ).check()  # fmt: skip
    return MODELS.make("what_if", base=base, trees=10).fit(given, target)


def test_the_change_is_learnt_from_networks_measured_on_both_devices() -> None:
    found = changed("here", "there", 60).predict(queries(UNSEEN)).value
    assert np.abs(found / (1.7 * truth(UNSEEN, 16)) - 1).mean() < 0.02


def test_what_is_measured_of_the_parent_carries_over_to_the_narrower_network() -> None:
    parent = UNSEEN[0]
    widths = tuple(max(2, n.out_channels // 2) for n in parent.nodes[:-1])
    child = chain(f"{parent.name}/half", widths, parent.nodes[0].in_shape[-1])
    found = changed("", "here", 60).predict(queries((child,))).value[0]
    assert found == pytest.approx(truth((child,))[0], rel=0.1)


def test_a_narrower_network_on_another_device_is_both_changes() -> None:
    parent = UNSEEN[0]
    widths = tuple(max(2, n.out_channels // 2) for n in parent.nodes[:-1])
    child = chain(f"{parent.name}/half", widths, parent.nodes[0].in_shape[-1])
    found = changed("here", "there", 60).predict(queries((child,))).value[0]
    assert found == pytest.approx(1.7 * truth((child,), 16)[0], rel=0.1)


def test_too_few_networks_on_both_leave_the_replay() -> None:
    assert changed("here", "there", 20).change is not None
    with pytest.raises(BadValue, match="measurements on here for what_if must be at least 20"):
        changed("here", "there", 10)
