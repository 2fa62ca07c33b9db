# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: drawn, complete, operable by keyboard, as wide as the phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeshift.portfolio import Portfolio
from edgeshift.reports import write_html
from edgeshift.reports.words import amount
from tests.reports.browser import Browser, browser, found
from tests.reports.made import filled

pytestmark = pytest.mark.skipif(found() is None, reason="needs chromium or chrome on PATH to draw the page")


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(portfolio: Portfolio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of eight variants."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_html(portfolio, path)
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_it_draws_without_an_error_and_fits(window: Browser, page: Path, width: int, dark: bool) -> None:
    window.open(page, width, dark=dark)
    assert window.errors == []
    assert window.value("document.getElementById('broken').hidden")
    assert window.value("document.documentElement.scrollWidth") <= width


def test_it_asks_the_network_for_nothing(window: Browser, page: Path) -> None:
    window.requests.clear()
    window.open(page, 1280)
    assert set(window.requests) == {page.as_uri()}


@pytest.mark.parametrize("plot", ["scatter", "heat", "curves"])
def test_every_variant_is_in_every_plot(window: Browser, page: Path, portfolio: Portfolio, plot: str) -> None:
    window.open(page, 1280)
    drawn = window.value(f"[...document.querySelectorAll('#{plot} [data-id]')].map(e => e.dataset.id)")
    assert sorted(drawn) == sorted(v.id for v in portfolio.variants)


def test_points_lie_where_the_axis_puts_them(window: Browser, page: Path) -> None:
    window.open(page, 1280)
    window.value("document.querySelector('[data-cost=parameters]').click()")
    at = window.value(
        "Object.fromEntries([...document.querySelectorAll('#scatter [data-id]')].map(e => "
        "[e.ariaLabel.split(':')[0], Number(e.querySelector('.target').getAttribute('cx'))]))"
    )
    zero = window.value("Number(document.querySelector('#scatter .base').getAttribute('x1'))")
    # The axis is linear from 0: the pixels are in the ratio of the parameters, 272474 to 102194.
    assert (at["dense"] - zero) / (at["level-4"] - zero) == pytest.approx(272_474 / 102_194, rel=1e-3)


@pytest.mark.parametrize("value", [0, 0.0123, 0.9996, 1.234, 12.34, 999.6, 1234.4, 999_600, 41_300_000])
@pytest.mark.parametrize("unit", ["ms", "bytes", ""])
def test_the_page_writes_numbers_as_the_terminal_does(
    window: Browser, page: Path, value: float, unit: str
) -> None:
    if window.value("location.href") != page.as_uri():
        window.open(page, 1280)
    assert window.value(f"amount({value}, '{unit}')") == amount(value, unit)


def test_a_thumbnail_changes_the_axis(window: Browser, page: Path) -> None:
    window.open(page, 1280)
    window.value("document.querySelector('[data-cost=macs]').click()")
    assert window.value("document.querySelector('#scatter svg').getAttribute('aria-label')").endswith(
        "against MACs, 8 variants"
    )
    assert "counted on the network" in window.value("document.getElementById('scatter-says').textContent")


def test_the_logarithmic_axis_draws(window: Browser, page: Path) -> None:
    window.open(page, 1280)
    window.value("document.querySelector('input[value=log]').click()")
    assert "logarithmic" in window.value("document.getElementById('scatter').textContent")
    assert window.errors == []


def test_a_head_sorts_the_table_both_ways(window: Browser, page: Path) -> None:
    window.open(page, 1280)
    names = "[...document.querySelectorAll('#variants tbody button')].map(e => e.dataset.choose)"
    head = "document.querySelectorAll('#variants thead button')[1]"
    before = window.value(names)
    window.value(f"{head}.click()")
    rising = window.value(names)
    window.value(f"{head}.click()")
    assert rising == list(reversed(before))
    assert window.value(names) == before
    assert window.value(f"{head}.parentElement.getAttribute('aria-sort')") == "descending"


def test_the_keyboard_chooses_a_point_everywhere(window: Browser, page: Path) -> None:
    window.open(page, 1280)
    wanted = window.value("document.querySelector('#scatter [data-id]:not([aria-pressed=true])').dataset.id")
    window.value(f"document.querySelector('#scatter [data-id=\"{wanted}\"]').focus()")
    assert "Test accuracy" in window.value("document.getElementById('tip').textContent")
    window.press("Enter")
    assert window.value("document.getElementById('picker').value") == wanted
    assert window.value("document.querySelector('#heat [aria-pressed=true]').dataset.id") == wanted
    assert window.value("document.querySelector('tr.chosen').dataset.id") == wanted
    assert window.value("document.activeElement.dataset.id") == wanted


def test_escape_hides_the_tip(window: Browser, page: Path) -> None:
    window.open(page, 1280)
    window.value("document.querySelector('#scatter [data-id]').focus()")
    window.press("Escape")
    assert window.value("document.getElementById('tip').hidden")


def test_arrows_read_the_curves(window: Browser, page: Path) -> None:
    window.open(page, 1280)
    window.value("document.querySelector('#curves svg').focus()")
    window.press("ArrowLeft")
    assert window.value("document.getElementById('tip').textContent").startswith("Epoch 29")


def test_the_picker_shows_the_widths_of_its_variant(
    window: Browser, page: Path, portfolio: Portfolio
) -> None:
    window.open(page, 390)
    last = portfolio.variants[-1]
    window.value(
        f"(p => {{ p.value = '{last.id}'; p.dispatchEvent(new Event('change')); }})"
        "(document.getElementById('picker'))"
    )
    text = window.value("document.querySelector('#bars li').textContent")
    assert text == f"conv1{last.widths['conv1']} of 16"


def test_everything_that_can_be_pressed_has_a_name(window: Browser, page: Path) -> None:
    window.open(page, 1280)
    unnamed = (
        "[...document.querySelectorAll('button, [role=button], [tabindex], select')].filter(e => "
        "!(e.ariaLabel || e.textContent.trim() || e.getAttribute('aria-labelledby'))).length"
    )
    assert window.value(unnamed) == 0


def test_a_hostile_name_is_shown_and_does_nothing(
    window: Browser, hostile: Portfolio, tmp_path: Path
) -> None:
    write_html(hostile, tmp_path / "h.html")
    window.open(tmp_path / "h.html", 390)
    assert window.errors == []
    assert "<script>alert(1)</script>" in window.value("document.getElementById('variants').textContent")
    assert window.value("document.images.length") == 0
    assert window.value("document.documentElement.scrollWidth") <= 390


def test_one_variant_without_a_log_draws(window: Browser, tmp_path: Path) -> None:
    portfolio = filled(tmp_path / "p", ("only",))
    write_html(portfolio, tmp_path / "one.html")
    window.open(tmp_path / "one.html", 390)
    assert window.errors == []


def test_the_printed_page_is_no_wider_than_paper(window: Browser, page: Path) -> None:
    window.open(page, 794, media="print")  # A4 at 96 dots per inch
    assert window.value("document.documentElement.scrollWidth") <= 794
