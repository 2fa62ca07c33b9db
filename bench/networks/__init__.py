# SPDX-License-Identifier: Apache-2.0
"""Plain-torch copies of published networks, and small ones, to measure shrinking on.

Each file offers `build(**options)`, `example(batch)` and `SITES`; `micro.py` holds one small class per
operator pattern. Weights are random: nothing here says anything about accuracy.
"""

from bench.networks.plant import KINDS, Planted, Site, places, plant_
from bench.networks.shelf import Network, find, make, make_planted, names

__all__ = ["KINDS", "Network", "Planted", "Site", "find", "make", "make_planted", "names", "places", "plant_"]
