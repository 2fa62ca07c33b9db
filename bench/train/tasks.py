# SPDX-License-Identifier: Apache-2.0
"""Small tasks on which methods differ: a digit somewhere on a noisy canvas, made from scikit-learn's digits."""

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from edgeshift.data import Split

SIDE = 16
# Digit images 0..1196 make training canvases, the others validation and test: no image is on both sides.
HELD_OUT = 1197
NOISE = 0.15


def canvas(count: int, seed: int, *, held_out: bool) -> Split:
    """Digits pasted at random places on 16x16, with two patches of clutter and noise.

    Args:
        count: Canvases.
        seed: Of everything drawn.
        held_out: Use the digit images that no training canvas shows.
    """
    random = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    pool = np.arange(HELD_OUT, len(images)) if held_out else np.arange(HELD_OUT)
    chosen = random.choice(pool, count)
    out: NDArray[np.float64] = random.normal(0, NOISE, (count, SIDE, SIDE))
    for k, which in enumerate(chosen):
        for _ in range(2):
            y, x = random.integers(0, SIDE - 4, 2)
            other = images[random.choice(pool)]
            top, left = random.integers(0, 5, 2)
            out[k, y : y + 4, x : x + 4] += other[top : top + 4, left : left + 4]
        y, x = random.integers(0, SIDE - 8 + 1, 2)
        out[k, y : y + 8, x : x + 8] += images[which]
    pixels = (out.clip(0, 1) * 255).astype(np.uint8)[:, None]
    return Split(pixels, labels[chosen].astype(np.int64)).check()
