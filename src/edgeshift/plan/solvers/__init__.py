# SPDX-License-Identifier: Apache-2.0
"""Solvers: one file each; see `shape.py`."""
