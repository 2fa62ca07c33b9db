# SPDX-License-Identifier: Apache-2.0
"""Day-one tests on the published measurements; skipped where they are not."""

import os
from functools import cache

import numpy as np
import pytest

from edgeshift.core.registry import Shelf
from edgeshift.predict.hold_out import Trial, hold_out
from edgeshift.predict.models.count_ridge import CountRidge
from edgeshift.predict.models.device_net import DeviceNet
from edgeshift.predict.monotonicity import agreement
from edgeshift.predict.proxies import linear_proxy, scale_prices
from edgeshift.predict.scores import spearman
from edgeshift.predict.sets.shape import Fleet

SETS = Shelf("latency set", "predict/sets")
pytestmark = pytest.mark.skipif("EDGESHIFT_DATA" not in os.environ, reason="EDGESHIFT_DATA names no data")


@cache
def fleet(name: str) -> Fleet:
    found: Fleet = SETS.make(name).open()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "median"), [("help_nasbench201", 0.834), ("help_fbnet", 0.605), ("help_ofa", 0.643)]
)
def test_devices_agree_as_published(name: str, median: float) -> None:
    found = agreement(fleet(name).samples)
    # Dead cells count in the published median and not here: half a point of the second digit.
    assert np.median(found[np.tril_indices(len(found), -1)]) == pytest.approx(median, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("help_nasbench201", 0.93), ("help_fbnet", 0.76)])
def test_twenty_networks_rank_a_device_without_any_other(name: str, least: float) -> None:
    # All columns, look-up sums included: the published bars are means over all of them.
    samples = fleet(name).samples
    scores = [
        hold_out(CountRidge(), samples, Trial(device, 20, seed, "random")).score.spearman
        for device in samples.devices
        for seed in range(5)
    ]
    assert np.mean(scores) >= least


@pytest.mark.slow
def test_adaproxy_moves_a_vpu_to_a_gpu() -> None:
    samples = fleet("oneproxy_nasbench201").samples
    code = samples.features[:, [i for i, n in enumerate(samples.feature_names) if n.startswith("at/")]]
    code = np.hstack([np.ones((len(code), 1)), code])
    proxy, target = samples.column("true_vpu"), samples.column("eagle_gtx")
    weights = linear_proxy(code, proxy)
    found = []
    for seed in range(10):
        rows = np.random.default_rng(seed).permutation(len(code))
        fitted = scale_prices(weights, code[rows[:70]], target[rows[:70]])
        found.append(spearman((code @ fitted.weights + fitted.offset)[rows[70:]], target[rows[70:]]))
    assert np.mean(found) >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "devices", "most"),
    [
        # Means of the descriptor network with counts at 10 measurements, our first bar.
        ("help_nasbench201", ("titan_rtx_256", "silver_4210r", "raspi4", "samsung_a50"), 11.2),
        ("help_fbnet", ("titan_rtx_64", "2080ti_1", "gold_6226", "samsung_a50"), 5.4),
    ],
)
def test_ten_measurements_are_enough_on_devices_held_out(
    name: str, devices: tuple[str, ...], most: float
) -> None:
    known = fleet(name)
    samples = known.samples.without(known.composed)
    errors = [
        hold_out(DeviceNet(), samples, Trial(d, 10, seed)).score.mape for d in devices for seed in (0, 1)
    ]
    assert np.mean(errors) < most


def test_look_up_sums_are_out_of_every_mean() -> None:
    assert set(fleet("help_nasbench201").composed) == {"eyeriss", "fpga"}
    assert set(fleet("help_fbnet").composed) == {"eyeriss", "fpga", "pixel3", "raspi4"}
    assert "pixel3" not in fleet("help_fbnet").measured()


def test_every_nas_bench_device_has_a_noise_ceiling() -> None:
    found = fleet("help_nasbench201")
    assert set(found.ceilings) == set(found.samples.devices)
    assert found.ceilings["pixel2"].repeat_mape == pytest.approx(15.2, abs=0.1)
    assert found.ceilings["titan_rtx_256"].spearman == pytest.approx(1.0, abs=1e-3)


def test_dead_cells_are_dropped() -> None:
    assert len(fleet("help_nasbench201").samples) == 15625 - 341


def test_unsupported_networks_are_not_measured() -> None:
    samples = fleet("oneproxy_nasbench201").samples
    assert np.nanmin(samples.column("rice_edgetpu")) > 0
    assert np.isnan(samples.column("rice_edgetpu")).any()


@pytest.mark.slow
def test_networks_of_all_kinds_rank_alike_on_gpus_and_desktops() -> None:
    pytest.importorskip("pyarrow")
    found = agreement(fleet("timm").samples)
    # The published median is over 1,189 networks and 18 settings, this one over 1,444 and 20.
    assert np.median(found[np.tril_indices(len(found), -1)]) == pytest.approx(0.973, abs=0.005)
