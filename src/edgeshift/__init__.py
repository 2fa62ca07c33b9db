# SPDX-License-Identifier: Apache-2.0
"""EdgeShift: one model in, a portfolio of exact, smaller variants out.

The names below load on first use, so `import edgeshift` stays light. Functions carry the names of
the commands; rooms are imported by path (`edgeshift.derive`), see docs/decisions/0001.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Public name -> module that holds it. tests/test_surface.py keeps it at 14 names or fewer.
_SURFACE = {
    "Card": "edgeshift.core.card",
    "EdgeShiftError": "edgeshift.core.errors",
    "Engine": "edgeshift.runtime",
    "Job": "edgeshift.derive",
    "Portfolio": "edgeshift.portfolio",
    "Switcher": "edgeshift.runtime",
    "Variant": "edgeshift.core.values",
    "bench": "edgeshift.derive",
    "build": "edgeshift.derive",
    "load": "edgeshift.formats",
    "save": "edgeshift.formats",
    "shrink": "edgeshift.graph",
}
__all__ = [
    "Card",
    "EdgeShiftError",
    "Engine",
    "Job",
    "Portfolio",
    "Switcher",
    "Variant",
    "bench",
    "build",
    "load",
    "save",
    "shrink",
]


def __getattr__(name: str) -> Any:
    if name not in _SURFACE:
        raise AttributeError(f"module 'edgeshift' has no attribute {name!r}")
    return getattr(import_module(_SURFACE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
