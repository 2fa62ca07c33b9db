# SPDX-License-Identifier: Apache-2.0
"""What a portfolio shows: a table in the terminal, a record for scripts, one HTML file for people."""

from edgeshift.reports.compared import compared
from edgeshift.reports.facts import summary
from edgeshift.reports.fronts import write_comparison
from edgeshift.reports.html import write_html
from edgeshift.reports.terminal import table

__all__ = ["compared", "summary", "table", "write_comparison", "write_html"]
