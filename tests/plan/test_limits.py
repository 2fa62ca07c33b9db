# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.plan.limits import QUANTITIES, Limit, Point, parse


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("latency<=20ms", Limit("latency", 20.0)),
        ("latency <= 0.02 s", Limit("latency", 20.0)),
        ("latency_ms<=20", Limit("latency", 20.0)),
        ("p95<=500us@batch=32,clock=0.6", Limit("p95", 0.5, Point(32, 0.6))),
        ("memory<=2MiB", Limit("memory", 2097152.0)),
        ("size<=2MB@runtime=onnxruntime", Limit("size", 2e6, Point(runtime="onnxruntime"))),
        ("energy<=1.5J", Limit("energy", 1500.0)),
        ("accuracy>=91%", Limit("accuracy", 0.91)),
        ("accuracy>=0.91", Limit("accuracy", 0.91)),
        ("size_bytes<=1e6 @ threads = 2", Limit("size", 1e6, Point(threads=2))),
    ],
)
def test_a_limit_is_read_in_its_unit(text: str, want: Limit) -> None:
    (found,) = parse(text)
    assert (found.quantity, found.point) == (want.quantity, want.point)
    assert found.value == pytest.approx(want.value)


def test_several_limits_are_told_apart_by_semicolons() -> None:
    found = parse("latency<=20ms; latency<=80ms@batch=8; accuracy>=0.9;")
    assert [(k.quantity, k.value, k.point.batch) for k in found] == [
        ("latency", 20, 1),
        ("latency", 80, 8),
        ("accuracy", 0.9, 1),
    ]


@settings(deadline=None)
@given(
    name=st.sampled_from([n for n in QUANTITIES if n != "accuracy"]),
    value=st.floats(1e-6, 1e12, allow_nan=False),
    batch=st.integers(1, 4096),
    clock=st.floats(0.01, 1),
)
def test_a_limit_is_read_back_from_its_text(name: str, value: float, batch: int, clock: float) -> None:
    limit = Limit(name, value, Point(batch, round(clock, 4)))
    assert parse(limit.text) == (limit,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "limits must be at least one, such as latency<=20ms, got ''"),
        ("latency=20ms", "limit must be such as latency<=20ms"),
        ("latency<=20", "unit of latency must be one of us, ms, s, got ''"),
        ("latency_ms<=20s", "unit of latency_ms must be ms, which its name says, got 's'"),
        ("size<=3ms", "unit of size must be one of B, kB, .*got 'ms'"),
        ("latency>=20ms", "sign of latency must be <=, a ceiling, got '>='"),
        ("accuracy<=0.9", "sign of accuracy must be >=, a floor, got '<='"),
        ("accuracy>=91", "accuracy floor must be 0..1, .*got 91"),
        ("latency<=0ms", "limit of latency must be finite and above 0, got '0'"),
        ("latency<=1.2.3ms", "limit of latency must be a number, got '1.2.3'"),
        ("latency<=1e999ms", "limit of latency must be finite and above 0, got '1e999'"),
        ("latency<=2ms@batch=0", "batch and threads must be from 1"),
        ("latency<=2ms@clock=1.5", "clock must be above 0 and at most 1"),
        ("latency<=2ms@volts=3", "operating point must be batch=, clock=, .*got 'volts=3'"),
        ("latency<=2ms@batch=x", "operating point must be numbers"),
        ("latency<=2ms; latency<=3ms", "limits must be one for each quantity and operating point"),
    ],
)
def test_what_is_no_limit_is_refused_with_its_text(text: str, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        parse(text)


def test_a_strange_quantity_gets_the_near_one() -> None:
    with pytest.raises(UnknownName, match="no quantity named 'latenci'; did you mean 'latency'"):
        parse("latenci<=2ms")


@pytest.mark.parametrize(
    ("limit", "value", "holds"),
    [
        (Limit("latency", 2.0), 2.0, True),
        (Limit("latency", 2.0), 2.1, False),
        (Limit("accuracy", 0.9), 0.9, True),
        (Limit("accuracy", 0.9), 0.89, False),
        (Limit("latency", 2.0), float("nan"), False),
    ],
)
def test_a_value_at_the_limit_keeps_it(limit: Limit, value: float, holds: bool) -> None:
    assert limit.holds(value) is holds
