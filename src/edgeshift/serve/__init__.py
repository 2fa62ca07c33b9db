# SPDX-License-Identifier: Apache-2.0
"""The portfolio over HTTP: Open Inference Protocol, metrics, management and a dashboard. Imports no torch."""
