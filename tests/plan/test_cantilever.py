# SPDX-License-Identifier: Apache-2.0
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "cantilever.py"


@pytest.fixture(scope="module")
def beam() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cantilever", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_beam_of_half_density_is_as_much_softer_as_its_material(beam: ModuleType) -> None:
    half, full = (beam.compliance(np.full(36, d)) for d in (0.5, 1.0))
    assert half / full == pytest.approx(1 / (0.001 + 0.125 * 0.999), rel=1e-9)  # one linear system, scaled


def test_a_beam_turned_upside_down_is_as_stiff(beam: ModuleType) -> None:
    density = np.random.default_rng(0).random(36)
    turned = density.reshape(6, 6)[:, ::-1].ravel()  # cells go column by column, from the top
    assert beam.compliance(turned) == pytest.approx(beam.compliance(density), rel=1e-9)


def test_the_method_with_derivatives_is_stiffer_than_a_uniform_beam(beam: ModuleType) -> None:
    assert beam.reference(20) < beam.compliance(np.full(36, 0.5)) / 3


def test_the_example_runs_and_stays_in_its_budget() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--budget", "80"], capture_output=True, text=True, check=True
    )
    words = done.stdout.split()
    direct, surrogate = (int(words[i + 1]) for i, word in enumerate(words) if word == "after")
    assert direct <= surrogate == 80  # the first does not count a design twice
