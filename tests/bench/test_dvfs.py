# SPDX-License-Identifier: Apache-2.0
"""Emulated clocks: what the DVFS bench plays is what the policies and sensors see."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.dvfs.clock import Share, _Dilated, write_cpufreq
from bench.dvfs.governor import GOVERNORS, Power, energy_mj, load_clock
from bench.dvfs.latency import CLOCKS, spread
from edgeshift.runtime.backends.shape import Model
from edgeshift.runtime.sensors.cpufreq import Cpufreq
from edgeshift.runtime.simulate import REFUSED, Outcome, Replay
from edgeshift.runtime.state import Ladder, Profile
from edgeshift.runtime.traces import Clock


class Slow(Model):
    """Answers after 2 ms."""

    inputs = outputs = ()

    def run(self, inputs: Mapping[str, NDArray[Any]], limit_s: float = math.inf) -> dict[str, NDArray[Any]]:
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            pass
        return {"output": np.zeros(1)}


def test_a_slower_clock_takes_at_least_as_much_longer() -> None:
    model = _Dilated(Slow(), Share(0.25))
    start = time.perf_counter()
    model.run({})
    # No upper bound: the machine may stop us at any time.
    assert time.perf_counter() - start >= 4 * 0.002


@pytest.mark.parametrize("share", CLOCKS)
def test_the_sensor_reads_the_clock_that_is_played(tmp_path: Path, share: float) -> None:
    write_cpufreq(tmp_path, share)
    assert Cpufreq().read(tmp_path) == pytest.approx(share)


@pytest.mark.parametrize("name", GOVERNORS)
def test_equal_seeds_give_equal_clocks(name: str) -> None:
    one, two, other = (GOVERNORS[name](seed, 600.0).share for seed in (3, 3, 4))
    assert (one == two).all()
    assert not (one == other).all()


def test_the_load_governor_uses_the_clocks_of_the_bench() -> None:
    assert set(load_clock(0).share.tolist()) == set(CLOCKS)


def test_power_at_full_and_half_clock_by_hand() -> None:
    power = Power(idle_w=2.0, static_w=0.5, dynamic_w=2.0, least_volt=0.5)
    # At half: volt 0.75, so 2 + 0.5 + 2 * 0.5 * 0.5625.
    assert (power.busy_w(1.0), power.busy_w(0.5)) == (4.5, 3.0625)


def test_energy_of_two_answers_and_one_refused_by_hand() -> None:
    ladder = Ladder(
        (Profile("0", "small", 0.5, 10.0, 10.0), Profile("1", "large", 0.9, 20.0, 20.0, fixed_ms=10.0))
    )
    times = np.array([0.0, 1.0, 2.0])
    trace = Replay(times, times, 1.0, Clock(1.0, np.array([1.0, 0.5, 1.0]), np.full(3, 40.0)))
    outcome = Outcome(3, 2, 0, 1, 0, 0.5, 0, 3 / 60, np.array([0, 1, REFUSED], np.int8))
    power = Power(idle_w=2.0, static_w=0.5, dynamic_w=2.0, least_volt=0.5)
    # 10 ms at 2.5 W above idle, 10 / 0.5 + 10 = 30 ms at 1.0625 W: 56.875 mJ for two; 6 J of idling besides.
    assert energy_mj(ladder, trace, outcome, power) == pytest.approx((56.875 / 2, (56.875 + 6000) / 2))


def test_the_spread_is_that_of_medians() -> None:
    # Mean 3, deviation 1.
    assert spread([{"p50_ms": 2.0}, {"p50_ms": 4.0}]) == pytest.approx(1 / 3)
