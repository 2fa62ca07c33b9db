# SPDX-License-Identifier: Apache-2.0
"""Patterns: which sets of weights may go together."""
