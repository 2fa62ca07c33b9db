# SPDX-License-Identifier: Apache-2.0
"""The variants as one table in the terminal."""

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from edgeshift.reports.facts import summary
from edgeshift.reports.words import NOTHING, amount, percent, times

if TYPE_CHECKING:
    from edgeshift.portfolio import Portfolio


def table(portfolio: "Portfolio") -> Table:
    """One row per variant, from the reference to the sparsest.

    Raises:
        BadValue: If the portfolio is empty.
    """
    found = summary(portfolio)
    costs = {c["key"]: c for c in found["costs"]}
    latency = next((k for k in costs if k.startswith("latency-")), None)
    memory = next((k for k in costs if k.startswith("peak_memory-")), None)
    caption = "● on the front, selected on validation; accuracy reported on test"
    shown = Table(caption=caption, caption_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    shown.add_column("  variant", overflow="fold")
    for head in ("test", "validation", "latency", "faster", "params", "smaller", "MACs", "memory"):
        shown.add_column(head, justify="right", no_wrap=True)
    for v in sorted(found["variants"], key=lambda v: (v["sparsity"], -v["values"]["macs"])):
        values = v["values"]
        shown.add_row(
            f"{'●' if v['front'] else ' '} {escape(v['name'])}",
            percent(v["accuracy"].get("test")),
            percent(v["accuracy"].get("validation")),
            amount(values[latency], "ms") if latency else NOTHING,
            times(v["faster"]),
            amount(values["parameters"], ""),
            times(v["smaller"]),
            amount(values["macs"], ""),
            amount(values[memory], "bytes") if memory else NOTHING,
            style="bold" if v["front"] else "",
        )
    return shown
