# SPDX-License-Identifier: Apache-2.0
import re
from html.parser import HTMLParser

import pytest

from edgeshift.reports.fronts import page, ticks

METHOD = {
    "seeds": [0],
    "hypervolume": 0.02,
    "spread": None,
    "pick_test": 0.9,
    "pick_faster": 2.0,
    "pick_smaller": 3.0,
    "seconds": 10.0,
    "training_macs": 50.0,
    "dense_training_macs": 100.0,
    "ratio": 1.0,
}
VARIANT = {"seed": 0, "validation": 0.9, "parameters": 1000, "macs": 2000, "sparsity": 0.5}


def facts(**changes: object) -> dict[str, object]:
    return {
        "model": "net",
        "data": "digits",
        "device": "a machine",
        "runtime": "onnxruntime 1",
        "worst": {"latency_ms": 2.0, "accuracy": 0.8},
        "methods": [{**METHOD, "name": "a"}, {**METHOD, "name": "b<script>"}],
        "variants": [
            {**VARIANT, "method": name, "name": f"level-{k}", "front": k == 0, "test": test, "latency_ms": ms}
            for name in ("a", "b<script>")
            for k, (test, ms) in enumerate([(0.9, 2.0), (0.85, 1.0)])
        ],
        "twins": [],
        **changes,
    }


def test_every_variant_has_a_mark_that_says_what_it_is() -> None:
    titles = re.findall(r"<title>(.*?)</title>", page(facts()))[1:]
    assert titles[0] == "a, seed 0, level-0: 90.00 %, 2 ms" or titles[0].startswith("a, seed 0, level-0")
    assert len(titles) == 4


def test_names_cannot_add_markup() -> None:
    assert "<script" not in page(facts())


def test_every_tag_is_closed() -> None:
    class Balance(HTMLParser):
        """Counts open tags."""

        depth: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "link"):
                self.depth.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.depth.pop() == tag

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            return

    parser = Balance()
    parser.depth = []
    parser.feed(page(facts()))
    assert parser.depth == []


def test_twins_are_shown_with_their_difference() -> None:
    twin = {
        "method": "a",
        "level": "level-1",
        "inherited": 0.9,
        "scratch": 0.91,
        "difference": -0.01,
        "standard_error": None,
        "seeds": 1,
    }
    text = page(facts(twins=[twin]))
    assert "Are inherited weights worth anything?" in text
    assert "\u22121.00" in text
    assert "one seed" in text


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (84, 92, [84, 86, 88, 90, 92]), (3, 3, [3, 4])],
)
def test_ticks_are_round_and_hold_the_span(low: float, high: float, wanted: list[float]) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    if high > low:
        assert found == pytest.approx(wanted)
