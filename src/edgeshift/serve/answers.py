# SPDX-License-Identifier: Apache-2.0
"""How answers and refusals become HTTP."""

import http
import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Send

from edgeshift.serve.codes import REFUSALS

JSON = "application/json"
# No answer is a page, a script or a thing to keep; the dashboard alone says otherwise.
SAFE = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
SAFE_RAW = [(name.encode(), value.encode()) for name, value in SAFE.items()]


def body_of(value: object) -> bytes:
    """JSON of a value."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(body_of(value), status, {**SAFE, **(headers or {})}, JSON)


def refusal_body(code: str) -> bytes:
    """What a refused client reads; the protocol asks for `error`, `code` is ours."""
    return body_of({"error": REFUSALS[code].text, "code": code})


def refusal_headers(code: str) -> dict[str, str]:
    """The headers that belong to a refusal."""
    found: dict[str, str] = {}
    refusal = REFUSALS[code]
    if refusal.retry_after_s:
        found["retry-after"] = str(refusal.retry_after_s)
    if refusal.status == 401:
        found["www-authenticate"] = 'Bearer realm="edgeshift"'
    if code in ("body_too_large", "read_timeout", "bad_http", "busy", "headers_too_large"):
        found["connection"] = "close"  # the rest of the request is not read
    return found


def refuse(code: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal by its code."""
    return Response(
        refusal_body(code), REFUSALS[code].status, {**SAFE, **refusal_headers(code), **(headers or {})}, JSON
    )


def raw_refusal(code: str) -> bytes:
    """A whole HTTP response, for where there is no request to answer."""
    status, body = REFUSALS[code].status, refusal_body(code)
    headers = {"content-type": JSON, "content-length": str(len(body)), **SAFE, **refusal_headers(code)}
    lines = [
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def send_tensors(send: Send, body: bytes, header_length: int | None) -> None:
    """A 200 with tensors; without a Response object, as it is sent once per request."""
    headers = [*SAFE_RAW, (b"content-length", str(len(body)).encode())]
    if header_length is None:
        headers.append((b"content-type", JSON.encode()))
    else:
        headers.append((b"content-type", b"application/octet-stream"))
        headers.append((b"inference-header-content-length", str(header_length).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def json_able(value: Any) -> Any:
    """A value as JSON has it: NaN and infinity become null, tuples lists."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(k): json_able(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_able(v) for v in value]
    return value
