# SPDX-License-Identifier: Apache-2.0
"""One page that shows the server at work, and the figures it asks for once a second."""

from dataclasses import asdict
from functools import cache
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from edgeshift import __version__
from edgeshift.core.page import digest, fill, part, scripts
from edgeshift.runtime import SENSORS
from edgeshift.serve.answers import SAFE, answer, json_able
from edgeshift.serve.manage import events_since, since
from edgeshift.serve.memory import resident_bytes
from edgeshift.serve.service import Service

SCRIPTS = ("draw.js", "page.js")
# Switches that one answer carries at most; a page that was opened late sees the last of them.
EVENTS = 200


async def page(service: Service, request: Request) -> Response:
    """`/dashboard`."""
    text, policy = filled(service.name)
    return Response(text, 200, {**SAFE, "content-security-policy": policy}, "text/html")


@cache
def filled(name: str) -> tuple[str, str]:
    """The page and the only scripts, styles and addresses it may use."""
    style, script = part("serve", "page.css"), scripts("serve", *SCRIPTS)
    values = {"model": escape(name), "version": escape(__version__), "style": style, "script": script}
    text = fill(part("serve", "page.html"), values)
    policy = (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


async def data(service: Service, request: Request) -> Response:
    """`/dashboard/data?since=`: what the page shows; switches after that number."""
    return answer(json_able(await figures(service, since(request))))


async def figures(service: Service, number: int) -> dict[str, Any]:
    """Everything the page shows, as JSON types but for NaN."""
    snapshot = await service.snapshot()
    known = {profile.name: profile for profile in service.model.ladder.profiles}
    events = events_since(service, number)
    return {
        "model": service.name,
        "generation": snapshot.generation,
        "policy": snapshot.policy,
        "runtime": snapshot.runtime,
        "management": service.token is not None,
        "deadline_ms": service.deadline_ms,
        "uptime_s": snapshot.uptime_s,
        "active": snapshot.active,
        "pinned": snapshot.pinned,
        "switches": snapshot.switches,
        "alarms": snapshot.alarms,
        "now": {
            "rate": snapshot.rate,
            "queued": snapshot.queue,
            "in_flight": service.counters.in_flight,
            "p50_ms": snapshot.latency_ms.get("p50"),
            "p95_ms": snapshot.latency_ms.get("p95"),
            "late": service.counters.late_share(),
            "accuracy": snapshot.effective_accuracy,
            "slowdown": snapshot.slowdown,
            "memory_bytes": resident_bytes(),
        },
        "variants": [
            {
                "name": v.name,
                "accuracy": v.accuracy,
                "latency_ms": v.profiled_ms,
                "p95_ms": known[v.name].p95_ms if v.name in known else None,
                "size_bytes": v.size_bytes,
                "requests": v.requests,
                "ready": v.ready,
                "quarantined": bool(v.quarantined),
            }
            for v in snapshot.variants
        ],
        "sensors": [
            {"name": name, "value": value, "age_s": age, "unit": unit(name)}
            for name, (value, age) in snapshot.sensors.items()
        ],
        "refused": [
            {"code": code, "count": count} for code, count in sorted(service.counters.refused.items())
        ],
        "history": [asdict(second) for second in service.counters.history],
        "events": events[-EVENTS:],
        "last_event": events[-1]["number"] if events else number,
    }


@cache
def unit(sensor: str) -> str:
    """The unit of a sensor's value."""
    return str(SENSORS.find(sensor).unit)
