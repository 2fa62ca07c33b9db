# SPDX-License-Identifier: Apache-2.0
"""The least that can answer over HTTP: uvicorn, one session, raw floats in and out. The baseline of throughput.

python -m bench.serve.plain MODEL.onnx PORT
"""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from edgeshift.formats import open_onnx

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


def application(model: Path, shape: tuple[int, ...]) -> Callable[..., Awaitable[None]]:
    """An ASGI application without checks, queue, metrics or limits; the last bytes of a body are the input."""
    session = open_onnx(model)
    size = 4 * int(np.prod(shape))

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        array = np.frombuffer(body[-size:], np.float32).reshape(shape)
        answer = session.run(array).tobytes()
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def main() -> None:
    """Serve until a signal comes."""
    model, port, *sizes = sys.argv[1:]
    app = application(Path(model), tuple(int(size) for size in sizes))
    uvicorn.run(app, port=int(port), log_level="error", access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
