# SPDX-License-Identifier: Apache-2.0
"""Criteria: how much each weight matters."""
