# SPDX-License-Identifier: Apache-2.0
"""The portfolio over HTTP: Open Inference Protocol, metrics, management and a dashboard. Imports no torch."""

from edgeshift.serve.limits import Limits
from edgeshift.serve.server import Settings, is_loopback, serve

__all__ = ["Limits", "Settings", "is_loopback", "serve"]
