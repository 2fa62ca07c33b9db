# SPDX-License-Identifier: Apache-2.0
"""Contrast by WCAG 2.1; distance in Oklab under colour blindness (Machado et al., 2009, severity 1)."""

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeshift.core.page import part

BLINDNESS = {
    "none": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def palette(dark: bool) -> dict[str, NDArray[np.float64]]:
    """Name -> linear RGB of the page's colours."""
    blocks = re.findall(r":root \{(.*?)\}", part("reports", "page.css"), re.DOTALL)
    found = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", blocks[1 if dark else 0]))
    return {name: linear(value) for name, value in found.items()}


def linear(value: str) -> NDArray[np.float64]:
    """`#rrggbb` -> linear RGB in 0..1."""
    c = np.array([int(value[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """WCAG contrast ratio, 1..21."""
    light = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (light[1] + 0.05) / (light[0] + 0.05)


def distance(a: NDArray[np.float64], b: NDArray[np.float64], eye: str) -> float:
    """Difference in Oklab, times 100, as that eye sees it."""
    seen = [TO_LAB @ np.cbrt(TO_LMS @ np.clip(BLINDNESS[eye] @ c, 0, 1)) for c in (a, b)]
    return 100 * float(np.linalg.norm(seen[0] - seen[1]))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["surface", "page"])
@pytest.mark.parametrize("name", ["ink", "soft", "muted", "good", "bad"])
def test_text_stands_out_by_4_5(name: str, ground: str, dark: bool) -> None:
    colours = palette(dark)
    assert contrast(colours[name], colours[ground]) >= 4.5


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["front", "rest", "chosen", "axis"])
def test_marks_stand_out_by_3(name: str, dark: bool) -> None:
    colours = palette(dark)
    assert contrast(colours[name], colours["surface"]) >= 3


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("eye", BLINDNESS)
@pytest.mark.parametrize("other", ["rest", "chosen"])
def test_the_front_is_told_apart_by_every_eye(other: str, eye: str, dark: bool) -> None:
    colours = palette(dark)
    # 8: twice what is taken for a visible difference between large marks; shapes differ as well.
    assert distance(colours["front"], colours[other], eye) >= 8


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("eye", BLINDNESS)
def test_the_ends_of_the_ramp_differ_in_lightness(eye: str, dark: bool) -> None:
    colours = palette(dark)
    assert distance(colours["low"], colours["high"], eye) >= 40
