# SPDX-License-Identifier: Apache-2.0
"""Schedules: how much is kept at each step."""
