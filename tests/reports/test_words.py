# SPDX-License-Identifier: Apache-2.0
import pytest

from edgeshift.reports.words import amount, percent, significant, times


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123, "0.0123"),
        (0.5, "0.500"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234.5, "1234"),
        (0.9996, "1.00"),
    ],
)
def test_three_significant_digits_without_exponent(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.2345, "ms", "1.23 ms"),
        (999, "bytes", "999 B"),
        (1234, "bytes", "1.23 kB"),
        (999_600, "bytes", "1.00 MB"),
        (41_300_000, "bytes", "41.3 MB"),
        (272_474, "", "272 k"),
        (41_294_000, "MACs", "41.3 M"),
        (0, "MACs", "0"),
        (None, "ms", "–"),
    ],
)
def test_an_amount_has_its_unit(value: float | None, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_shares_are_percent() -> None:
    assert (percent(0.9123), percent(1.0), percent(None)) == ("91.23 %", "100.00 %", "–")


def test_ratios_are_times() -> None:
    assert (times(2.345), times(None)) == ("2.35x", "–")
