# SPDX-License-Identifier: Apache-2.0
"""A variant in a process of its own: when it hangs or dies, only it does.

Parent and child talk over a socket pair in messages of a JSON header and raw arrays; nothing is pickled. The
child reads its standard input as well: when that ends, the parent is gone, and so is the child.
"""

import contextlib
import importlib
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadPortfolio, EdgeShiftError, OutOfMemory, VariantFailed
from edgeshift.formats import TensorSpec, first_line
from edgeshift.runtime.backends.shape import Backend, Model

# A fresh interpreter with numpy and a runtime takes 0.3 to 2 s to answer; a loaded small device ten times that.
START_S = 60.0
# Not `-m`: the package imports this module, and Python warns of running it a second time.
CHILD = "from edgeshift.runtime.worker import main; main()"
KINDS = "fiub"
MAX_HEADER = 1 << 20


class Remote(Model):
    """A model in a worker process; one request at a time."""

    def __init__(self, backend: Backend, source: Path | bytes, threads: int) -> None:
        """Start the process and open the model in it.

        Raises:
            BadPortfolio: If the backend refuses the file.
            MemoryError: If there is not enough memory.
            VariantFailed: If the process dies, or is not ready in `START_S`.
        """
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", CHILD, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": path},
            )
        self._socket = ours
        self._turn = threading.Lock()
        self._dead = ""
        # However the model is forgotten, its process ends: a request in flight holds the model, and so the process.
        self._end = weakref.finalize(self, ended, self._process, ours)
        mapped = isinstance(source, Path)
        asked = {
            "backend": f"{type(backend).__module__}:{type(backend).__qualname__}",
            "options": asdict(backend),  # type: ignore[call-overload]  # every backend is a dataclass
            "threads": threads,
            "path": str(source) if mapped else "",
        }
        content = b"" if isinstance(source, Path) else source
        given = {} if mapped else {"onnx": np.frombuffer(content, np.uint8)}
        header, _ = self._asked({"open": asked}, given, START_S)
        self.inputs = tuple(spec_from(raw) for raw in header["inputs"])
        self.outputs = tuple(spec_from(raw) for raw in header["outputs"])

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def run(self, inputs: Mapping[str, NDArray[Any]], limit_s: float = math.inf) -> dict[str, NDArray[Any]]:
        """See `Model.run`; after `limit_s` the process is killed."""
        return self._asked({}, inputs, limit_s)[1]

    def _asked(
        self, header: dict[str, Any], arrays: Mapping[str, NDArray[Any]], limit_s: float
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        with self._turn:
            if self._dead:
                raise VariantFailed(f"worker must live, got one that {self._dead}")
            until = time.monotonic() + limit_s
            try:
                send(self._socket, header, arrays, until)
                found, answer = receive(self._socket, until)
            except TimeoutError as error:
                raise self._lost(f"gave no answer in {limit_s:.3g} s") from error
            except (OSError, EOFError, ValueError) as error:
                raise self._lost("died") from error
        raise_(found.get("error"), found.get("says", ""))
        return found, answer

    def _lost(self, how: str) -> VariantFailed:
        self._process.kill()
        code = self._process.wait()
        self._dead = how if "no answer" in how else f"died with exit code {code}"
        return VariantFailed(f"worker must answer, got one that {self._dead}")

    def close(self) -> None:
        """End the process."""
        self._end()


def ended(process: "subprocess.Popen[bytes]", ours: socket.socket) -> None:
    """Kill and bury a worker."""
    ours.close()
    process.kill()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    process.wait()


def raise_(kind: str | None, says: str) -> None:
    """What the child raised, again; nothing if it raised nothing."""
    if kind in ("MemoryError", "OutOfMemory"):
        raise OutOfMemory(f"worker must have memory, got: {says}")
    if kind == "BadPortfolio":
        raise BadPortfolio(f"worker must open the file, got: {says}")
    if kind is not None:
        raise VariantFailed(f"worker must answer, got: {says}")


def send(
    to: socket.socket, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], until: float
) -> None:
    """Write one message: length of the header, header, arrays.

    Raises:
        TimeoutError: If it is not written in time.
        OSError: If the other side is gone.
    """
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    facts = [[name, array.dtype.str, list(array.shape)] for name, array in whole.items()]
    text = json.dumps({**header, "arrays": facts}).encode()
    wait(to, until)
    to.sendall(len(text).to_bytes(4, "little") + text)
    for array in whole.values():
        wait(to, until)
        to.sendall(array.reshape(-1).view(np.uint8).data)


def receive(source: socket.socket, until: float) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read one message.

    Raises:
        EOFError: If the other side is gone.
        TimeoutError: If it does not come in time.
        ValueError: If it is no message.
    """
    size = int.from_bytes(exactly(source, 4, until), "little")
    if size > MAX_HEADER:
        raise BadPortfolio(f"header of a message must have at most {MAX_HEADER} bytes, got {size}")
    header: dict[str, Any] = json.loads(bytes(exactly(source, size, until)))
    arrays: dict[str, NDArray[Any]] = {}
    for name, kind, shape in header["arrays"]:
        dtype = np.dtype(kind)
        if dtype.kind not in KINDS:
            raise BadPortfolio(f"type of {name} must be a number, got {kind}")
        data = exactly(source, dtype.itemsize * math.prod(shape), until)
        arrays[name] = np.frombuffer(data, dtype).reshape(shape)
    return header, arrays


def exactly(source: socket.socket, size: int, until: float) -> bytearray:
    """That many bytes."""
    found = bytearray(size)
    view, at = memoryview(found), 0
    while at < size:
        wait(source, until)
        got = source.recv_into(view[at:])
        if got == 0:
            raise EOFError
        at += got
    return found


def wait(on: socket.socket, until: float) -> None:
    """Give the next call on a socket the time that is left."""
    if until == math.inf:
        on.settimeout(None)
        return
    on.settimeout(max(until - time.monotonic(), 1e-3))


def spec_from(raw: list[Any]) -> TensorSpec:
    """What `facts_of` wrote."""
    return TensorSpec(raw[0], np.dtype(raw[1]), tuple(raw[2]))


def facts_of(spec: TensorSpec) -> list[Any]:
    """An input or output as JSON."""
    return [spec.name, spec.dtype.str, list(spec.shape)]


def opened(asked: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
    """The model that the parent asks for."""
    module, _, name = asked["backend"].partition(":")
    backend: Backend = getattr(importlib.import_module(module), name)(**asked["options"])
    source = Path(asked["path"]) if asked["path"] else arrays["onnx"].tobytes()
    return backend.open(source, asked["threads"])


def answer_all(to: socket.socket) -> None:
    """Answer until the parent hangs up."""
    model: Model | None = None
    while True:
        try:
            header, arrays = receive(to, math.inf)
        except EOFError:
            return
        reply: dict[str, Any] = {}
        answer: dict[str, NDArray[Any]] = {}
        try:
            if model is None:
                model = opened(header["open"], arrays)
                reply = {side: [facts_of(s) for s in getattr(model, side)] for side in ("inputs", "outputs")}
            else:
                answer = model.run(arrays)
        except (EdgeShiftError, MemoryError) as error:
            reply = {"error": type(error).__name__, "says": str(error)}
        except Exception as error:  # the parent is told, whatever it is
            reply = {"error": type(error).__name__, "says": first_line(error)}
        send(to, reply, answer, math.inf)


def die_with_parent() -> None:
    """End this process once standard input does, even while a model hangs."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Answer the parent over the socket whose number is the first argument."""
    threading.Thread(target=die_with_parent, daemon=True).start()
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        answer_all(ours)
    os._exit(0)
