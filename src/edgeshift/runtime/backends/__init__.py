# SPDX-License-Identifier: Apache-2.0
"""One file per runtime that can answer; see `shape.py`."""
