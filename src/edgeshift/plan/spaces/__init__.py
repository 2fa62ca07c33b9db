# SPDX-License-Identifier: Apache-2.0
"""Design spaces: one file each; see `shape.py`."""
