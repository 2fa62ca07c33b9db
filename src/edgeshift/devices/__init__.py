# SPDX-License-Identifier: Apache-2.0
"""Devices by name: profiles, the probe that measures one, clocks. Imports no torch."""
