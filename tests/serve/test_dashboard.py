# SPDX-License-Identifier: Apache-2.0
"""The dashboard in a real browser over a real server: it fits, it lives, it reads, and it pins with the token."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.reports.browser import Browser, browser, found
from tests.serve.made import AUTHORISED, MODEL_AT, TOKEN, Process, body, process

pytestmark = pytest.mark.skipif(found() is None, reason="needs chromium or chrome on PATH to draw the page")
TABLE = "document.getElementById('variants').textContent"


@dataclass(frozen=True)
class Address:
    """What `Browser.open` asks of a path."""

    url: str

    def as_uri(self) -> str:
        """The address."""
        return self.url


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """With management, a deadline, and some answers and refusals behind it."""
    token = tmp_path_factory.mktemp("token") / "token"
    with process(folder, token, "--deadline-ms", "50") as running:
        with httpx.Client(base_url=running.url) as client:
            for name in ("small", "large", "middle"):
                client.post("/manage/switch", json={"variant": name}, headers=AUTHORISED)
                assert client.post(f"{MODEL_AT}/versions/{name}/infer", json=body()).status_code == 200
            client.post(f"{MODEL_AT}/infer", content=b"{")
        yield running


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with browser() as opened:
        yield opened


def show(window: Browser, server: Process, width: int = 1280, *, dark: bool = False) -> None:
    window.errors.clear()
    window.open(Address(f"{server.url}/dashboard"), width, dark=dark)  # type: ignore[arg-type]
    until(window, "document.querySelectorAll('#variants tbody tr').length === 3")


def until(window: Browser, expression: str, seconds: float = 10) -> None:
    """Wait until the page says so; it asks the server once a second."""
    end = time.monotonic() + seconds
    while not window.value(expression):
        assert time.monotonic() < end, f"{expression} must become true within {seconds} s"
        time.sleep(0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_it_draws_without_an_error_and_fits(window: Browser, server: Process, width: int, dark: bool) -> None:
    show(window, server, width, dark=dark)
    assert window.errors == []
    assert window.value("document.documentElement.scrollWidth") <= width
    assert window.value("document.getElementById('state').className") == "state live"
    table = "document.querySelector('.scroll')"
    assert window.value(f"{table}.scrollWidth <= {table}.clientWidth")


def test_it_asks_only_its_own_server(window: Browser, server: Process) -> None:
    window.requests.clear()
    show(window, server)
    assert {url.split("?")[0] for url in window.requests} <= {
        f"{server.url}/dashboard",
        f"{server.url}/dashboard/data",
        "data:,",
    }


def test_it_shows_what_happened(window: Browser, server: Process) -> None:
    show(window, server)
    until(window, "document.getElementById('switches').textContent.includes('small → large')")
    text = window.value("document.body.innerText")
    for words in ("manual", "bad_json", "deadline 50.0 ms", "95.0 %", "large"):
        assert words in text
    assert "NaN" not in text
    assert "undefined" not in text


def test_every_chart_says_in_words_what_it_shows(window: Browser, server: Process) -> None:
    show(window, server)
    labels = window.value(
        "[...document.querySelectorAll('.plot svg')].map(s => s.getAttribute('aria-label'))"
    )
    assert [label.split(" over five")[0] for label in labels] == [
        "Latency",
        "Requests per second",
        "Active variant",
    ]


def test_everything_that_can_be_pressed_has_a_name(window: Browser, server: Process) -> None:
    show(window, server)
    unnamed = (
        "[...document.querySelectorAll('button, [tabindex], input, a')].filter(e => !(e.ariaLabel || "
        "e.textContent.trim() || e.getAttribute('aria-labelledby') || e.labels?.length)).length"
    )
    assert window.value(unnamed) == 0


def test_a_pin_asks_for_the_token_and_holds(window: Browser, server: Process) -> None:
    show(window, server, 390)
    window.value("document.querySelector('[aria-label=\"Pin large\"]').click()")
    assert window.value("document.getElementById('ask').open")
    type_token(window, "x" * 20)
    until(window, "!document.getElementById('ask-error').hidden")
    window.errors.clear()  # the browser logs the 401
    type_token(window, TOKEN)
    until(window, "document.getElementById('state').textContent === 'live, pinned to large'")
    assert not window.value("document.getElementById('ask').open")
    assert "active, pinned" in window.value(TABLE)
    assert httpx.post(f"{server.url}{MODEL_AT}/infer", json=body()).json()["model_version"] == "large"
    window.value("document.querySelector('[aria-label=\"Unpin large\"]').click()")
    until(window, "document.getElementById('state').textContent === 'live, policy deadline'")
    assert window.errors == []


def type_token(window: Browser, token: str) -> None:
    window.value(f"document.getElementById('token').value = '{token}'")
    window.value("document.querySelector('#ask-form [type=submit]').click()")


def test_escape_leaves_the_token_dialog(window: Browser, server: Process) -> None:
    show(window, server)
    window.value("document.querySelector('[aria-label=\"Pin small\"]').focus()")
    window.press("Enter")
    assert window.value("document.getElementById('ask').open")
    window.press("Escape")
    assert not window.value("document.getElementById('ask').open")


def test_the_focus_stays_while_the_page_lives(window: Browser, server: Process) -> None:
    show(window, server)
    window.value("document.querySelector('[aria-label=\"Pin small\"]').focus()")
    before = window.value("last.uptime_s")
    until(window, f"last.uptime_s > {before}")
    assert window.value("document.activeElement.ariaLabel") == "Pin small"


def test_without_a_token_file_nothing_can_be_pinned(window: Browser, folder: Path) -> None:
    with process(folder) as running:
        show(window, running)
        assert window.value("document.querySelectorAll('#variants button').length") == 0
        until(window, "document.getElementById('pin-note').textContent.startsWith('Management is off')")


def test_it_says_when_the_server_is_gone(window: Browser, folder: Path) -> None:
    with process(folder) as running:
        show(window, running)
    until(window, "document.getElementById('state').className === 'state lost'")
