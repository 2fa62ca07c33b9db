# SPDX-License-Identifier: Apache-2.0
"""Management: switch, pin, unpin, reload, rollback, events. Only with a token, and absent without one."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from edgeshift.core.errors import BadPortfolio, EdgeShiftError, Refused, TooOld, VariantFailed
from edgeshift.serve.answers import answer, json_able
from edgeshift.serve.service import Service, record

Endpoint = Callable[[Service, Request], Awaitable[Response]]


async def variant(service: Service, request: Request) -> str:
    """The variant that a call names.

    Raises:
        Refused: If the token is wrong, or there is no such variant.
    """
    service.authorise(request.scope)
    found = await record(request.scope, request.receive, service.limits)
    word = found.get("variant")
    if not isinstance(word, str) or len(found) != 1:
        raise Refused("bad_request")
    return service.model.version(word)


async def nothing(service: Service, request: Request) -> None:
    """A call without a body, or with `{}`."""
    service.authorise(request.scope)
    if await record(request.scope, request.receive, service.limits):
        raise Refused("bad_request")


def state(service: Service) -> Response:
    """What every call answers: where the server stands after it."""
    switcher = service.switcher
    facts = {
        "active": switcher.active.profile.name,
        "pinned": switcher.pinned,
        "generation": service.engine.generation,
    }
    return answer(facts)


async def switch(service: Service, request: Request) -> Response:
    """One step to a variant; the policy may move on."""
    name = await variant(service, request)
    try:
        service.switcher.switch(name)
    except VariantFailed:
        raise Refused("unavailable") from None
    return state(service)


async def pin(service: Service, request: Request) -> Response:
    """Stay on a variant; the policy is not asked until `unpin`."""
    name = await variant(service, request)
    try:
        service.switcher.pin(name)
    except VariantFailed:
        raise Refused("unavailable") from None
    return state(service)


async def unpin(service: Service, request: Request) -> Response:
    """Let the policy choose again."""
    await nothing(service, request)
    service.switcher.pin(None)
    return state(service)


async def reload(service: Service, request: Request) -> Response:
    """Open the portfolio on disk; the old one serves until the new one is ready, and stays if it is not."""
    await nothing(service, request)
    try:
        await asyncio.to_thread(service.switcher.reload)
    except TooOld:
        raise Refused("too_old") from None
    except EdgeShiftError:
        raise Refused("bad_portfolio") from None
    return state(service)


async def rollback(service: Service, request: Request) -> Response:
    """Open the generation before."""
    await nothing(service, request)
    try:
        await asyncio.to_thread(service.switcher.rollback)
    except TooOld:
        raise Refused("too_old") from None
    except BadPortfolio:
        raise Refused("bad_portfolio") from None
    except EdgeShiftError:
        raise Refused("nothing_before") from None
    return state(service)


async def events(service: Service, request: Request) -> Response:
    """The switches after a number, the oldest first."""
    service.authorise(request.scope)
    return answer({"events": events_since(service, since(request))})


def since(request: Request) -> int:
    """The number in `?since=`, 0 where there is none.

    Raises:
        Refused: If it is another thing, or comes with others.
    """
    items = request.query_params.multi_items()
    if not items:
        return 0
    (name, text), *more = items
    if more or name != "since" or not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Refused("bad_query")
    return int(text)


def events_since(service: Service, number: int) -> list[dict[str, object]]:
    """JSON of the switches after a number."""
    found = []
    for event in service.switcher.events(number):
        facts = asdict(event)
        facts["from"] = facts.pop("from_")
        found.append(json_able(facts))
    return found


CALLS: dict[str, Endpoint] = {
    "switch": switch,
    "pin": pin,
    "unpin": unpin,
    "reload": reload,
    "rollback": rollback,
}
