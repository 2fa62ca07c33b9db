# SPDX-License-Identifier: Apache-2.0
"""The text of `/metrics`: its lines by hand, and that clients cannot make series."""

import math
import re
from pathlib import Path

import pytest

from edgeshift.core.errors import BadDigest
from edgeshift.portfolio import Portfolio
from edgeshift.serve.counters import durations
from edgeshift.serve.metrics import histogram, metric, number, quoted
from tests.serve.made import MODEL_AT, Client, body, portfolio, service

LINE = re.compile(
    r"# (HELP|TYPE) edgeshift_[a-z_]+ .+"
    r'|edgeshift_[a-z_]+(\{([a-z]+="[^"\\]*",?)*\})? (-?[0-9.e+-]+|NaN|\+Inf)'
)


def test_a_metric_is_help_type_and_samples() -> None:
    assert metric("x_total", "counter", "Says.", [({"variant": 'a"b', "n": 1}, 2), ({}, 0.5)]) == [
        "# HELP edgeshift_x_total Says.",
        "# TYPE edgeshift_x_total counter",
        'edgeshift_x_total{variant="a\\"b",n="1"} 2',
        "edgeshift_x_total 0.5",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(True, "1"), (3.0, "3"), (0.25, "0.25"), (math.nan, "NaN"), (1e-4, "0.0001")]
)
def test_numbers_are_written_as_prometheus_reads_them(value: float, text: str) -> None:
    assert number(value) == text


def test_label_values_are_escaped() -> None:
    assert quoted('a\\b"c\nd') == 'a\\\\b\\"c\\nd'


def test_a_histogram_counts_up_to_each_bound() -> None:
    one = durations()
    for seconds in (0.00005, 0.0001, 0.0003, 100):
        one.add(seconds)
    lines = histogram("h_seconds", "Says.", [({"variant": "v"}, one)])
    assert lines[2] == 'edgeshift_h_seconds_bucket{variant="v",le="0.0001"} 2'
    assert lines[3] == 'edgeshift_h_seconds_bucket{variant="v",le="0.00025"} 2'
    assert lines[4] == 'edgeshift_h_seconds_bucket{variant="v",le="0.0005"} 3'
    assert lines[-3] == 'edgeshift_h_seconds_bucket{variant="v",le="+Inf"} 4'
    assert lines[-1] == 'edgeshift_h_seconds_count{variant="v"} 4'


def test_every_line_has_the_format(client: Client) -> None:
    client.post(f"{MODEL_AT}/infer", json=body())
    client.post(f"{MODEL_AT}/infer", content=b"{")
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    wrong = [line for line in answer.text.splitlines() if not LINE.fullmatch(line)]
    assert wrong == []
    names = re.findall(r"# TYPE (\w+)", answer.text)
    assert len(names) == len(set(names))


def test_requests_are_counted_by_variant_and_reason(client: Client) -> None:
    def count(labels: str) -> int:
        found = re.search(rf"edgeshift_requests_total\{{{labels}\}} (\d+)", client.get("/metrics").text)
        return int(found[1]) if found else 0

    ok = 'model="toy",variant="large",status="200",reason="ok"'
    bad = 'model="toy",variant="",status="400",reason="bad_json"'
    before = count(ok), count(bad)
    client.post(f"{MODEL_AT}/versions/large/infer", json=body())
    client.post(f"{MODEL_AT}/infer", content=b"{")
    assert (count(ok), count(bad)) == (before[0] + 1, before[1] + 1)


def test_clients_make_no_series(client: Client) -> None:
    for version in ("small", "middle", "large"):
        client.post(f"{MODEL_AT}/versions/{version}/infer", json=body())
    client.post("/v2/models/x/infer", json=body())
    before = len(client.get("/metrics").text.splitlines())
    for i in range(20):
        client.post(f"/v2/models/x{i}/infer", json=body())
        client.post(f"{MODEL_AT}/versions/small/infer", json=body(id=f"x{i}"))
        client.get(f"/x{i}")
    assert len(client.get("/metrics").text.splitlines()) == before


def value(text: str, name: str) -> float:
    found = re.search(rf"^edgeshift_{name} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def test_switches_and_decisions_are_timed(tmp_path: Path) -> None:
    with service(portfolio(tmp_path / "p")) as (running, client):
        for name in ("large", "small", "large"):
            running.switcher.switch(name)
        for _ in range(5):
            client.post(f"{MODEL_AT}/infer", json=body())
        text = client.get("/metrics").text
    assert value(text, "switch_seconds_count") == value(text, "switches_total") >= 3
    assert value(text, "decision_seconds_count") == 5
    assert value(text, 'switch_seconds_bucket{le="\\+Inf"}') == value(text, "switch_seconds_count")
    assert 0 < value(text, "switch_seconds_sum") < 1
    assert 0 < value(text, "decision_seconds_sum") < 1


def test_damaged_files_and_wrong_answers_are_counted(tmp_path: Path) -> None:
    path = portfolio(tmp_path / "p")
    with service(path):
        pass
    built = sorted((path / ".cache").glob("*.bin"))[0]
    built.chmod(0o600)
    built.write_bytes(bytes(built.stat().st_size))
    golden = path / Portfolio.open(path).find("large").files["golden"].path
    golden.chmod(0o600)
    with service(path) as (running, client):
        text = client.get("/metrics").text
        assert (value(text, "digest_failures_total"), value(text, "self_test_failures_total")) == (1, 0)
        golden.write_bytes(b"another")
        with pytest.raises(BadDigest, match="checksum of blobs/"):
            running.engine.recheck(running.engine.ready(2))
        assert running.switcher.snapshot().digest_failures == 2
