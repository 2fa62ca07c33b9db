# SPDX-License-Identifier: Apache-2.0
"""What was asked of one stage; its hash names the folder of the result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Recipe:
    """One stage's method, its version and options.

    Attributes:
        method: Plug-in name or stage name.
        version: Raised whenever equal options would give another result.
        options: JSON values only.
    """

    method: str
    version: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def hash(self) -> str:
        """16 hex digits that change whenever anything in the recipe does."""
        text = canonical({"method": self.method, "version": self.version, "options": dict(self.options)})
        return hashlib.sha256(text.encode()).hexdigest()[:16]
