# SPDX-License-Identifier: Apache-2.0
"""Numbers as a reader wants them, the same in the terminal and on the page."""

NOTHING = "–"
BYTES = ("B", "kB", "MB", "GB", "TB")
COUNTS = ("", "k", "M", "G", "T")


def significant(value: float) -> str:
    """Three significant digits without an exponent: `0.0123`, `1.23`, `12.3`, `1230`."""
    if value == 0:
        return "0"
    # The exponent after rounding to three digits: 999.6 is 1000, not 999.60.
    exponent = int(f"{value:.2e}".partition("e")[2])
    return f"{value:.{max(0, 2 - exponent)}f}"


def scaled(value: float, steps: tuple[str, ...]) -> str:
    """`1234567` -> `1.23 M`, by thousands."""
    place = 0
    while abs(value) >= 999.5 and place + 1 < len(steps):
        value, place = value / 1000, place + 1
    text = f"{value:.0f}" if place == 0 and value == int(value) else significant(value)
    return f"{text} {steps[place]}".strip()


def amount(value: float | None, unit: str) -> str:
    """A cost with its unit: `1.23 ms`, `4.56 MB`, `12.3 M`."""
    if value is None:
        return NOTHING
    if unit == "bytes":
        return scaled(value, BYTES)
    if unit in ("", "MACs"):
        return scaled(value, COUNTS)
    return f"{significant(value)} {unit}"


def percent(value: float | None) -> str:
    """`0.9123` -> `91.23 %`."""
    return NOTHING if value is None else f"{100 * value:.2f} %"


def times(value: float | None) -> str:
    """`2.345` -> `2.35x`."""
    return NOTHING if value is None else f"{significant(value)}x"
