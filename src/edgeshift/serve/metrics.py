# SPDX-License-Identifier: Apache-2.0
"""`/metrics`: counts in the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/).

Every label is a variant of the manifest, a code of `serve.codes.REFUSALS`, a sensor or a cause of a policy, so
the number of series is bounded whatever clients send.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from edgeshift.runtime.books import Snapshot
from edgeshift.runtime.histogram import Histogram
from edgeshift.serve.codes import REFUSALS
from edgeshift.serve.counters import Counters
from edgeshift.serve.memory import resident_bytes

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = Mapping[str, object]
Sample = tuple[Labels, float]


def exposition(model: str, snapshot: Snapshot, counters: Counters) -> str:
    """All metrics of a server as text."""
    lines: list[str] = []
    lines += metric("build", "gauge", "What computes.", [({"runtime": snapshot.runtime}, 1)])
    lines += requests(model, snapshot, counters)
    for name, says in (
        ("request", "From the request to its answer."),
        ("queue", "Waiting to be computed."),
        ("compute", "Computing, a second try included."),
    ):
        histograms = [({"variant": v}, getattr(times, name)) for v, times in counters.answered.items()]
        lines += histogram(f"{name}_seconds", says, histograms)
    lines += histogram(
        "switch_seconds", "Switches, from the wish to the event written down.", [({}, snapshot.switch_s)]
    )
    lines += histogram(
        "decision_seconds",
        "Decisions of the policy, its state included.",
        [({}, snapshot.decision_s)],
    )
    lines += variants(snapshot)
    lines += state(snapshot, counters)
    return "\n".join([*lines, ""])


def requests(model: str, snapshot: Snapshot, counters: Counters) -> list[str]:
    """How inference requests ended, by variant, status and reason."""
    ended: list[Sample] = [
        ({"model": model, "variant": v, "status": 200, "reason": "ok"}, sum(t.request.counts))
        for v, t in counters.answered.items()
    ]
    for code, count in sorted(counters.refused.items()):
        facts = {"model": model, "variant": "", "status": REFUSALS[code].status, "reason": code}
        ended.append((facts, count))
    late = [({"variant": v}, t.late) for v, t in counters.answered.items()]
    switched = [({"from": a, "to": b, "cause": c}, n) for (a, b, c), n in sorted(counters.switched.items())]
    return [
        *metric("requests_total", "counter", "Inference requests by how they ended.", ended),
        *metric("slo_miss_total", "counter", "Answers that came after their deadline.", late),
        *metric("switches_total", "counter", "Switches since the start.", [({}, snapshot.switches)]),
        *metric(
            "switches_by_cause_total",
            "counter",
            "Switches by variant and cause, as far as they were seen: beyond 4096 a second some are not.",
            switched,
        ),
    ]


def variants(snapshot: Snapshot) -> list[str]:
    """One sample for each variant."""
    columns: dict[str, tuple[str, dict[str, float]]] = {
        "active_variant": (
            "1 for the active variant.",
            {v.name: v.name == snapshot.active for v in snapshot.variants},
        ),
        "variant_ready": ("1 if it is in memory.", {v.name: v.ready for v in snapshot.variants}),
        "variant_quarantined": (
            "1 if it may not answer.",
            {v.name: bool(v.quarantined) for v in snapshot.variants},
        ),
        "variant_bytes": ("Of the opened file.", {v.name: v.size_bytes for v in snapshot.variants}),
        "variant_load_seconds": (
            "Opening, self test and warm-up.",
            {v.name: v.load_ms / 1000 for v in snapshot.variants},
        ),
        "variant_accuracy": ("On validation, 0..1.", {v.name: v.accuracy for v in snapshot.variants}),
        "variant_profiled_seconds": (
            "Median of one request by its profile.",
            {v.name: v.profiled_ms / 1000 for v in snapshot.variants},
        ),
    }
    lines: list[str] = []
    for name, (says, values) in columns.items():
        lines += metric(name, "gauge", says, [({"variant": v}, value) for v, value in values.items()])
    failures: list[Sample] = [({"variant": v.name}, v.failures) for v in snapshot.variants]
    lines += metric(
        "variant_failures_total", "counter", "Requests or self tests that a variant failed.", failures
    )
    return lines


def state(snapshot: Snapshot, counters: Counters) -> list[str]:
    """Single values of this moment."""
    gauges: dict[str, tuple[str, float]] = {
        "in_flight": ("Inference requests being answered.", counters.in_flight),
        "queue_length": ("Requests that wait to be computed.", snapshot.queue),
        "queue_limit": ("Requests that may wait.", snapshot.queue_limit),
        "arrivals_per_second": ("Smoothed over about a second.", snapshot.rate),
        "slowdown_ratio": ("Service time over profiled time, smoothed.", snapshot.slowdown),
        "effective_accuracy_estimate": (
            "Expected share of the last minute's requests answered right and on time.",
            snapshot.effective_accuracy,
        ),
        "pinned": ("1 if a variant is pinned by hand.", snapshot.pinned is not None),
        "generation": ("Of the portfolio that is served.", snapshot.generation),
        "uptime_seconds": ("Since the start.", snapshot.uptime_s),
        "resident_memory_bytes": ("Of the server process.", resident_bytes()),
    }
    lines: list[str] = []
    for name, (says, value) in gauges.items():
        lines += metric(name, "gauge", says, [({}, value)])
    lines += metric("alarms_total", "counter", "Failures that must not be.", [({}, snapshot.alarms)])
    for name, says, count in (
        (
            "self_test",
            "Variants that answered wrongly when opened or checked again.",
            snapshot.self_test_failures,
        ),
        ("digest", "Files that were not as they were written down.", snapshot.digest_failures),
    ):
        lines += metric(f"{name}_failures_total", "counter", says, [({}, count)])
    lines += metric(
        "sensor_failures_total",
        "counter",
        "Times that a sensor gave nothing.",
        [({}, snapshot.sensor_failures)],
    )
    values: list[Sample] = [({"sensor": n}, v) for n, (v, _) in sorted(snapshot.sensors.items())]
    ages: list[Sample] = [({"sensor": n}, a) for n, (_, a) in sorted(snapshot.sensors.items())]
    lines += metric("sensor_value", "gauge", "In the sensor's own unit.", values)
    lines += metric("sensor_age_seconds", "gauge", "Since it was read.", ages)
    return lines


def metric(name: str, kind: str, says: str, samples: Iterable[Sample]) -> list[str]:
    """Help, type and samples of one metric."""
    head = [f"# HELP edgeshift_{name} {says}", f"# TYPE edgeshift_{name} {kind}"]
    return [*head, *(f"edgeshift_{name}{braced(labels)} {number(value)}" for labels, value in samples)]


def histogram(name: str, says: str, series: Iterable[tuple[Labels, Histogram]]) -> list[str]:
    """A histogram for each set of labels."""
    lines = [f"# HELP edgeshift_{name} {says}", f"# TYPE edgeshift_{name} histogram"]
    for labels, one in series:
        counts = list(accumulate(one.counts))
        for bound, count in zip([*map(number, one.bounds), "+Inf"], counts, strict=True):
            lines.append(f"edgeshift_{name}_bucket{braced({**labels, 'le': bound})} {count}")
        lines.append(f"edgeshift_{name}_sum{braced(labels)} {number(one.total)}")
        lines.append(f"edgeshift_{name}_count{braced(labels)} {counts[-1]}")
    return lines


def braced(labels: Labels) -> str:
    """Labels as the format writes them."""
    return "{" + ",".join(f'{k}="{quoted(str(v))}"' for k, v in labels.items()) + "}" if labels else ""


def quoted(text: str) -> str:
    """A label value with the three characters escaped that the format asks for."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """A number as the format writes it; true is 1."""
    if value != value:
        return "NaN"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
