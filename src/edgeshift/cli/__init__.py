# SPDX-License-Identifier: Apache-2.0
"""The command line: one file per command, rooms imported inside the commands. Imports no torch."""

from edgeshift.cli.app import main

__all__ = ["main"]
