# SPDX-License-Identifier: Apache-2.0
"""Predictors: one file each; see `shape.py`."""
