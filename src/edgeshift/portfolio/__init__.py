# SPDX-License-Identifier: Apache-2.0
"""The variants of one model in one folder: added atomically, compared, verified. Imports no torch."""

from edgeshift.portfolio.diff import Difference
from edgeshift.portfolio.front import DEFAULT_OBJECTIVES, OBJECTIVES, front
from edgeshift.portfolio.golden import Golden
from edgeshift.portfolio.portfolio import Draft, Portfolio
from edgeshift.portfolio.verify import Verification

__all__ = [
    "DEFAULT_OBJECTIVES",
    "OBJECTIVES",
    "Difference",
    "Draft",
    "Golden",
    "Portfolio",
    "Verification",
    "front",
]
