# SPDX-License-Identifier: Apache-2.0
"""What a variant will cost on a device, with an honest interval. Imports no torch."""

from edgeshift.core.registry import Shelf

MODELS = Shelf("predictor", "predict/models")

__all__ = ["MODELS"]
