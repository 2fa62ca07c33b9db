# SPDX-License-Identifier: Apache-2.0
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgeshift.core.errors import BadValue
from edgeshift.core.page import digest, fill, part
from edgeshift.portfolio import Portfolio
from edgeshift.reports import write_html
from edgeshift.reports.html import embedded, flattened, plain, recipes, versus


class Seen(HTMLParser):
    """Tags, and the text of scripts, styles and table heads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] in self.texts:
            self.texts[self.inside[-1]][-1] += data


@pytest.fixture
def text(portfolio: Portfolio, tmp_path: Path) -> str:
    """The report of eight variants."""
    write_html(portfolio, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_file_fetches_nothing(text: str) -> None:
    outside = [
        a
        for tag, a in Seen(text).tags
        for k, v in a.items()
        if k in ("src", "href") and not (v or "").startswith("data:")
    ]
    assert outside == []
    assert "@import" not in text
    assert "url(" not in text


def test_only_its_own_style_and_script_may_run(text: str) -> None:
    seen = Seen(text)
    policy = next(
        a["content"] or "" for tag, a in seen.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert digest(seen.texts["script"][1]) in policy
    assert digest(seen.texts["style"][0]) in policy


def test_every_variant_has_a_row(text: str, portfolio: Portfolio) -> None:
    ids = [a["data-id"] for tag, a in Seen(text).tags if tag == "tr" and "data-id" in a]
    assert sorted(map(str, ids)) == sorted(v.id for v in portfolio.variants)


def test_every_head_but_the_name_says_measured(text: str) -> None:
    row = text.split("<thead>")[1].split("</thead>")[0]
    assert row.count("<th ") - 1 == row.count("<small>measured</small>")


def test_the_proof_is_a_word_and_a_number(text: str) -> None:
    assert '<span class="verdict good">exact</span> 3.1e-16' in text


def test_the_embedded_data_is_the_portfolio(text: str, portfolio: Portfolio) -> None:
    found = json.loads(Seen(text).texts["script"][0])
    assert [v["name"] for v in found["variants"]] == [v.name for v in portfolio.variants]


def test_a_name_that_is_markup_stays_text(hostile: Portfolio, tmp_path: Path) -> None:
    write_html(hostile, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    seen = Seen(text)
    assert len(seen.texts["script"]) == 2
    assert "img" not in seen.texts
    assert "<script>alert" not in text
    assert "</script><img" not in text
    assert {v["name"] for v in json.loads(seen.texts["script"][0])["variants"]} == {
        v.name for v in hostile.variants
    }


def test_embedded_json_cannot_end_its_element() -> None:
    value = {"a": "</script><!--&", "b": "\u2028"}
    assert re.search("[<>&\u2028]", embedded(value)) is None
    assert json.loads(embedded(value)) == value


def test_a_filled_value_is_not_filled_again() -> None:
    assert fill("{{a}}-{{b}}", {"a": "{{b}}", "b": "1"}) == "{{b}}-1"


def test_every_place_of_the_template_is_filled(text: str) -> None:
    assert set(re.findall(r"\{\{\w+\}\}", part("reports", "page.html")))
    assert re.findall(r"\{\{\w+\}\}", text) == []


def test_a_ratio_below_one_is_turned_around() -> None:
    assert (versus(2.0, "faster", "slower"), versus(0.5, "faster", "slower")) == (
        ", 2.00x faster",
        ", 2.00x slower",
    )


def test_a_ratio_of_one_says_nothing() -> None:
    assert (versus(1.0, "a", "b"), versus(1.004, "a", "b"), versus(None, "a", "b")) == ("", "", "")


def test_a_long_list_is_cut_and_counted() -> None:
    assert plain(list(range(100))).endswith("18, 19, ... (100 in all)")


def test_a_nested_record_becomes_paths() -> None:
    assert dict(flattened({"a": {"b": 1, "c": {}}, "d": [2]})) == {"a.b": 1, "a.c": {}, "d": [2]}


def test_only_what_differs_between_recipes_is_a_table() -> None:
    asked = [{"name": f"v{i}", "recipe": {"train": {"lr": 0.1, "level": i}}} for i in (7, 8)]
    text = recipes(asked)
    assert text.count("<dt>train.lr</dt><dd>0.1</dd>") == 1
    assert '<tr><th scope="row">v8</th><td>8</td></tr>' in text


def test_equal_recipes_make_no_table() -> None:
    assert "<table" not in recipes([{"name": f"v{i}", "recipe": {"lr": 0.1}} for i in (7, 8)])


def test_equal_portfolios_write_equal_files(portfolio: Portfolio, tmp_path: Path, text: str) -> None:
    write_html(portfolio, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text


def test_an_empty_portfolio_leaves_no_file(nameless: Portfolio, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="must be at least one to report on, got 0"):
        write_html(nameless, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_the_package_data_names_every_part() -> None:
    root = Path(__file__).resolve().parents[2]
    said = (root / "pyproject.toml").read_text()
    assert all(f'"{name}"' in said for name in ("reports/page/*", "serve/page/*", "core/elements.js"))
    names = {p.name for p in (root / "src/edgeshift/reports/page").iterdir()}
    assert names == {"page.html", "page.css", "draw.js", "plots.js", "page.js"}
