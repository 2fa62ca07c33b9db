# SPDX-License-Identifier: Apache-2.0
"""The variant or design for a device and its limits. Imports no torch before a solver trains."""

from edgeshift.core.registry import Shelf

SPACES = Shelf("space", "plan/spaces")
SOLVERS = Shelf("solver", "plan/solvers")

__all__ = ["SOLVERS", "SPACES"]
