# SPDX-License-Identifier: Apache-2.0
"""The ASGI application: which address does what, and what every answer has in common."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeshift import __version__
from edgeshift.core.errors import Refused
from edgeshift.serve import dashboard, manage
from edgeshift.serve.answers import SAFE, answer, refuse
from edgeshift.serve.infer import Infer
from edgeshift.serve.metrics import CONTENT_TYPE, exposition
from edgeshift.serve.openapi import document
from edgeshift.serve.service import Service

log = logging.getLogger("edgeshift.serve")
EXTENSIONS = ["binary_tensor_data"]
MODEL, VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
Endpoint = Callable[[Service, Request], Awaitable[Response]]


async def server(service: Service, request: Request) -> Response:
    """`/v2`: name, version and extensions of the server."""
    return answer({"name": "edgeshift", "version": __version__, "extensions": EXTENSIONS})


async def live(service: Service, request: Request) -> Response:
    """`/v2/health/live`: whether it answers at all."""
    return answer({"live": True})


async def ready(service: Service, request: Request) -> Response:
    """`/v2/health/ready`: whether a request would be taken."""
    if service.stopping:
        raise Refused("shutting_down")
    snapshot = await service.snapshot()
    if not any(variant.ready and not variant.quarantined for variant in snapshot.variants):
        raise Refused("not_ready")
    return answer({"ready": True})


async def models(service: Service, request: Request) -> Response:
    """`/v2/models`: the one model there is."""
    return answer({"models": [service.name]})


async def metadata(service: Service, request: Request) -> Response:
    """`/v2/models/{model}`: inputs, outputs and versions."""
    model = service.named(request.path_params["model"])
    if "version" in request.path_params:
        model.version(request.path_params["version"])
    return answer(model.metadata())


async def model_ready(service: Service, request: Request) -> Response:
    """`/v2/models/{model}/ready`: whether it, or one version of it, would answer."""
    model = service.named(request.path_params["model"])
    if "version" in request.path_params:
        version = model.version(request.path_params["version"])
        states = {variant.name: variant for variant in (await service.snapshot()).variants}
        if version not in states or states[version].quarantined:
            raise Refused("not_ready")
    return await ready(service, request)


async def metrics(service: Service, request: Request) -> Response:
    """`/metrics`: the counts in the text format of Prometheus."""
    return Response(
        exposition(service.name, await service.snapshot(), service.counters), 200, SAFE, CONTENT_TYPE
    )


async def openapi(service: Service, request: Request) -> Response:
    """`/openapi.json`: this server, as it is."""
    return answer(document(service))


async def root(service: Service, request: Request) -> Response:
    """`/` leads people to the dashboard."""
    return RedirectResponse("/dashboard", 307, SAFE)


def bound(endpoint: Endpoint, service: Service) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint of Starlette whose refusals are answered."""

    async def run(request: Request) -> Response:
        try:
            return await endpoint(service, request)
        except Refused as error:
            return refuse(error.code)

    return run


def routes(service: Service, infer: Infer) -> list[BaseRoute]:
    """Every address, the busiest first."""
    found: list[BaseRoute] = [
        Route(f"{MODEL}/infer", infer, methods=["POST"]),
        Route(f"{VERSION}/infer", infer, methods=["POST"]),
    ]
    reads: dict[str, Endpoint] = {
        "/v2": server,
        "/v2/health/live": live,
        "/v2/health/ready": ready,
        "/v2/models": models,
        MODEL: metadata,
        f"{MODEL}/ready": model_ready,
        VERSION: metadata,
        f"{VERSION}/ready": model_ready,
        "/metrics": metrics,
        "/openapi.json": openapi,
        "/dashboard": dashboard.page,
        "/dashboard/data": dashboard.data,
        "/": root,
    }
    found += [Route(path, bound(end, service), methods=["GET"]) for path, end in reads.items()]
    if service.token is not None:
        found.append(Route("/manage/events", bound(manage.events, service), methods=["GET"]))
        for word, end in manage.CALLS.items():
            found.append(Route(f"/manage/{word}", bound(end, service), methods=["POST"]))
    return found


class Door:
    """What every request passes: the limits on its front, and an answer whatever happens behind.

    Attributes:
        inner: The application behind.
        infer: What answers inference, reached without a router.
        service: Its limits.
    """

    def __init__(self, inner: ASGIApp, infer: Infer, service: Service) -> None:
        self.inner = inner
        self.infer = infer
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and (code := self.refused(scope)) is not None:
            await refuse(code)(scope, receive, send)
        elif scope["type"] == "http" and (asked := straight(scope)) is not None:
            scope["path_params"] = asked
            await self.infer(scope, receive, send)
        else:
            await self.inner(scope, receive, send)

    def refused(self, scope: Scope) -> str | None:
        """The code of a request whose front is over a limit."""
        limits = self.service.limits
        path = len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))
        if path > limits.path_bytes:
            return "path_too_long"
        if path + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > limits.header_bytes:
            return "headers_too_large"
        return None


def straight(scope: Scope) -> dict[str, str] | None:
    """What the address of a plain inference request names; None for all others, which the router tells apart.

    The router and its middleware cost a tenth of a small network's answer.
    """
    path: str = scope["path"]
    if scope["method"] != "POST" or not (path.startswith("/v2/models/") and path.endswith("/infer")):
        return None
    match path[len("/v2/models/") : -len("/infer")].split("/"):
        case [model] if model:
            return {"model": model}
        case [model, "versions", version] if model and version:
            return {"model": model, "version": version}
    return None


async def routed(request: Request, error: Exception) -> Response:
    """What Starlette's router says, in our words."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        return refuse("method_not_allowed", error.headers)
    return refuse("not_found")


async def failed(request: Request, error: Exception) -> Response:
    """A fault of ours; Starlette raises it again behind the answer, so that the log has the traceback."""
    return refuse("internal")


def application(service: Service) -> ASGIApp:
    """The ASGI application of a service; its lifespan closes the switcher."""

    infer = Infer(service)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        clock = asyncio.create_task(each_second(service))
        try:
            yield
        finally:
            service.stopping = True
            clock.cancel()

    app = Starlette(
        routes=routes(service, infer),
        lifespan=lifespan,
        exception_handlers={HTTPException: routed, 500: failed},
    )
    app.router.redirect_slashes = False
    return Door(app, infer, service)


async def each_second(service: Service) -> None:
    """Keeps the history that the dashboard draws."""
    while True:
        await asyncio.sleep(1)
        counters = service.counters
        counters.end_second(time.monotonic() - service.started_s, service.switcher.active.profile.name)
        counters.see(service.switcher.events(counters.last_event))
