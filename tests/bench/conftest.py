# SPDX-License-Identifier: Apache-2.0
"""Makes `bench`, which is no part of the installed package, importable from the repository's root."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
