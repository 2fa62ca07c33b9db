# SPDX-License-Identifier: Apache-2.0
"""`tests.derive` becomes importable, whatever pytest's import mode is."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
