# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.portfolio import Portfolio
from edgeshift.reports import summary
from edgeshift.reports.facts import costs, curve_of, environment, facts, layers, pick, reference
from tests.reports.made import draft, empty


def test_a_summary_is_json(portfolio: Portfolio) -> None:
    assert json.loads(json.dumps(summary(portfolio), allow_nan=False))["data"]["name"] == "cifar10"


def test_every_variant_is_in_the_summary(portfolio: Portfolio) -> None:
    assert [v["name"] for v in summary(portfolio)["variants"]] == [v.name for v in portfolio.variants]


def test_costs_are_latencies_then_memory_and_size_then_counts(portfolio: Portfolio) -> None:
    labels = [c.label for c in costs(portfolio.variants)]
    assert labels == [
        "Latency, batch 1",
        "Latency, batch 32",
        "Peak memory",
        "File size",
        "MACs",
        "Parameters",
    ]


def test_a_cost_says_its_protocol(portfolio: Portfolio) -> None:
    first = costs(portfolio.variants)[0]
    assert (first.kind, first.how) == ("measured", "median of 50 calls after 5, 1 thread, onnxruntime 1.20.0")


def test_the_reference_is_the_least_sparse(portfolio: Portfolio) -> None:
    assert reference(portfolio.variants).name == "dense"


def test_the_pick_has_least_latency_within_a_point_of_validation_accuracy(portfolio: Portfolio) -> None:
    # dense 92.64 % on validation; level-4 has 92.02 % in 0.742 ms, level-5 91.14 % in 0.585 ms.
    assert pick(portfolio.variants).name == "level-4"


def test_test_accuracy_does_not_move_the_pick(portfolio: Portfolio) -> None:
    swapped = [
        replace(v, accuracy={**v.accuracy, "test": 1 - v.accuracy["test"]}) for v in portfolio.variants
    ]
    assert pick(swapped).name == "level-4"


def test_ratios_are_those_to_the_reference(portfolio: Portfolio) -> None:
    last = summary(portfolio)["variants"][-1]
    assert last["faster"] == 1.412 / 0.349
    assert last["smaller"] == portfolio.variants[0].parameters / portfolio.variants[-1].parameters


def test_the_dominated_variant_is_not_on_the_front(portfolio: Portfolio) -> None:
    found = summary(portfolio)
    # level-1 is more accurate on validation, and less in latency and memory, than dense.
    assert [v["name"] for v in found["variants"] if not v["front"]] == ["dense"]


def test_curves_come_from_the_logs(portfolio: Portfolio) -> None:
    curve = facts(portfolio)["variants"][0]["curve"]
    assert (len(curve), curve[0]["epoch"], curve[-1]["epoch"]) == (30, 1, 30)


def test_a_variant_without_a_log_has_no_curve(tmp_path: Path) -> None:
    portfolio = empty(tmp_path / "p").add(draft("dense", 0), {"onnx": b"x"})
    assert facts(portfolio)["variants"][0]["curve"] == []


def test_nan_in_a_log_is_a_gap() -> None:
    assert curve_of(b'{"epoch": 1, "loss": NaN}\n', "x") == [{"epoch": 1, "loss": None}]


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff"])
def test_a_log_that_is_not_records_is_named(line: bytes) -> None:
    with pytest.raises(BadPortfolio, match=r"log of level-1 must be JSON records, got '.*' in line 2"):
        curve_of(b'{"epoch": 1}\n' + line, "level-1")


def test_layers_keep_the_forward_order_of_the_reference(portfolio: Portfolio) -> None:
    found = layers(portfolio.variants)
    assert (found[0], found[1], found[-1], len(found)) == ("conv1", "layer1.0.conv1", "fc", 20)


def test_each_figure_has_a_line_of_environment(portfolio: Portfolio) -> None:
    lines = environment(portfolio.variants)
    assert [r["figure"] for r in lines] == [
        "File size",
        "Latency, batch 1",
        "Latency, batch 32",
        "Peak memory",
    ]
    assert {r["kind"] for r in lines} == {"measured"}


def test_a_predicted_figure_keeps_its_word(portfolio: Portfolio) -> None:
    guess = [
        replace(v, measurements=tuple(replace(m, kind="predicted") for m in v.measurements))
        for v in portfolio.variants
    ]
    assert {c.kind for c in costs(guess) if c.key.startswith("latency")} == {"predicted"}


def test_thread_counts_part_the_latencies(portfolio: Portfolio) -> None:
    first = portfolio.variants[0]
    both = replace(first, measurements=(*first.measurements, replace(first.measurements[0], threads=2)))
    labels = [c.label for c in costs([both])]
    assert labels[:2] == ["Latency, batch 1, 1 threads", "Latency, batch 1, 2 threads"]


def test_an_empty_portfolio_has_nothing_to_report(nameless: Portfolio) -> None:
    with pytest.raises(BadValue, match="variants of the portfolio must be at least one to report on, got 0"):
        summary(nameless)
