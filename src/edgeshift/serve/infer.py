# SPDX-License-Identifier: Apache-2.0
"""The address that answers: one request in, tensors and the name of the variant that gave them out."""

import asyncio
import logging
import time
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from edgeshift.core.errors import BadValue, Refused, Rejected, UnknownName, VariantFailed
from edgeshift.runtime.answer import Answer
from edgeshift.serve.answers import refuse, send_tensors
from edgeshift.serve.codec import Request, decode, encode
from edgeshift.serve.model import Model
from edgeshift.serve.service import Service, body, header

log = logging.getLogger("edgeshift.serve")
# Longer bodies are read in a thread of their own: 256 kB of JSON take about 10 ms, in which no other
# connection would be heard.
LONG = 256 << 10
# What the switcher says when it does not take a request, and what the client hears.
NOT_TAKEN = {"deadline": "deadline", "queue_full": "queue_full", "closed": "shutting_down"}


@dataclass(frozen=True)
class Found:
    """An answer on its way out.

    Attributes:
        answer: Of the switcher.
        deadline_ms: It had; None = none.
        body: Its bytes.
        header_length: Of the JSON in front; None = all of it.
    """

    answer: Answer
    deadline_ms: float | None
    body: bytes
    header_length: int | None


class Infer:
    """An ASGI application for `.../infer`, as it runs once per request and needs none of a framework."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or refuses with a code."""
        service = self.service
        begun = time.perf_counter()
        service.counters.in_flight += 1
        try:
            found = await self.answered(scope, receive)
        except Refused as error:
            service.counters.refuse(error.code)
            await refuse(error.code)(scope, receive, send)
        except Exception:
            log.exception("an inference request failed in the server")
            service.counters.refuse("internal")
            await refuse("internal")(scope, receive, send)
        else:
            seconds = time.perf_counter() - begun
            answer = found.answer
            service.counters.answer(
                answer.variant,
                seconds,
                answer.queue_ms / 1000,
                answer.compute_ms / 1000,
                late=found.deadline_ms is not None and seconds * 1000 > found.deadline_ms,
            )
            await send_tensors(send, found.body, found.header_length)
        finally:
            service.counters.in_flight -= 1

    async def answered(self, scope: Scope, receive: Receive) -> "Found":
        """The answer and its bytes.

        Raises:
            Refused: With what the client hears.
        """
        service, asked = self.service, scope["path_params"]
        content = await body(scope, receive, service.limits)
        model = service.named(asked["model"])
        named = model.version(asked["version"]) if "version" in asked else None
        length = header_length_of(scope)
        if len(content) > LONG:
            request = await asyncio.to_thread(decode, content, length, model.inputs, model.outputs)
        else:
            request = decode(content, length, model.inputs, model.outputs)
        deadline_ms = request.deadline_ms or service.deadline_ms
        answer = await self.run(request, model, named, deadline_ms)
        facts = {
            "model_name": model.name,
            "model_version": answer.variant,
            "parameters": {"generation": answer.generation, "variant_id": answer.variant_id},
        }
        return Found(answer, deadline_ms, *encode(request, answer.outputs, facts))

    async def run(
        self, request: Request, model: Model, named: str | None, deadline_ms: float | None
    ) -> Answer:
        """What the switcher answers, within the request timeout."""
        switcher = self.service.switcher
        if request.min_accuracy is not None:
            floor = model.at_least(
                request.min_accuracy, switcher.active.profile.name if named is None else named
            )
            if named not in (None, floor):
                raise Refused("unreachable_accuracy")
            named = floor
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = loop.create_future()
        try:
            future = switcher.submit(request.inputs, deadline_ms=deadline_ms, variant=named)
            future.add_done_callback(lambda done: loop.call_soon_threadsafe(settle, waiter, done))
            async with asyncio.timeout(self.service.limits.request_s):
                return await waiter
        except Rejected as error:
            raise Refused(NOT_TAKEN[error.code]) from None
        except TimeoutError:
            future.cancel()
            raise Refused("timeout") from None
        except BadValue:
            raise Refused("bad_input") from None
        except UnknownName:  # the generation changed since the name was looked up
            raise Refused("unknown_version") from None
        except (VariantFailed, CancelledError) as error:
            log.warning("no variant answered: %s", error)
            raise Refused("variant_failed") from None


def settle(waiter: "asyncio.Future[Answer]", done: "Future[Answer]") -> None:
    """Hands a worker's result to the event loop."""
    if waiter.done():  # timed out, or the client went away
        return
    if done.cancelled():
        waiter.set_exception(CancelledError())
    elif (error := done.exception()) is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(done.result())


def header_length_of(scope: Scope) -> int | None:
    """Bytes of JSON in front of raw tensors; None where the whole body is JSON."""
    text = header(scope, b"inference-header-content-length")
    if text is None:
        return None
    if not (text.isdigit() and len(text) <= 10):
        raise Refused("bad_header_length")
    return int(text)
