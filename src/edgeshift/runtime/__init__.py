# SPDX-License-Identifier: Apache-2.0
"""What runs on the device: opens a portfolio, answers requests, shifts between variants. Imports no torch."""

from edgeshift.core.registry import Shelf
from edgeshift.runtime.answer import Answer
from edgeshift.runtime.books import Event, Snapshot, VariantState
from edgeshift.runtime.engine import BACKENDS, Engine
from edgeshift.runtime.ready import Ready
from edgeshift.runtime.switcher import Switcher

POLICIES = Shelf("policy", "runtime/policies")
SENSORS = Shelf("sensor", "runtime/sensors")

__all__ = [
    "BACKENDS",
    "POLICIES",
    "SENSORS",
    "Answer",
    "Engine",
    "Event",
    "Ready",
    "Snapshot",
    "Switcher",
    "VariantState",
]
