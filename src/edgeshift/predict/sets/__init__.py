# SPDX-License-Identifier: Apache-2.0
"""Published measurements of many networks on many devices: one file each; see `shape.py`."""
