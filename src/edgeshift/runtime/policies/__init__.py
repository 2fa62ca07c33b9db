# SPDX-License-Identifier: Apache-2.0
"""Policies: one file each; see `shape.py`."""
