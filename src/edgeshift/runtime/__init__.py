# SPDX-License-Identifier: Apache-2.0
"""What runs on the device: opens a portfolio, answers requests, shifts between variants. Imports no torch."""

from edgeshift.core.registry import Shelf

POLICIES = Shelf("policy", "runtime/policies")
SENSORS = Shelf("sensor", "runtime/sensors")

__all__ = ["POLICIES", "SENSORS"]
