# SPDX-License-Identifier: Apache-2.0
"""What to remove: criteria score weights, patterns make masks of scores, schedules say how much."""

from edgeshift.core.registry import Shelf

CRITERIA = Shelf("criterion", "sparsity/criteria")
PATTERNS = Shelf("pattern", "sparsity/patterns")
SCHEDULES = Shelf("schedule", "sparsity/schedules")

__all__ = ["CRITERIA", "PATTERNS", "SCHEDULES"]
