# SPDX-License-Identifier: Apache-2.0
"""A variant in a process of its own: same answers, and its end is only its own."""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeshift.core.errors import BadPortfolio, VariantFailed
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.worker import Remote, exactly, receive, send
from tests.portfolio.made import ANSWER, INPUT, onnx_bytes
from tests.runtime.made import DIE, HANG, RAISE, Faulty, first


@pytest.fixture
def remote() -> Iterator[Remote]:
    made = Remote(Faulty(from_scale=1), onnx_bytes(), 1)
    yield made
    made.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_answers_as_the_same_model_here(remote: Remote) -> None:
    here = Onnxruntime().open(onnx_bytes(), 1)
    assert (remote.inputs, remote.outputs) == (here.inputs, here.outputs)
    np.testing.assert_array_equal(remote.run({"input": INPUT})["output"], ANSWER)


def test_a_built_file_is_opened_by_its_path(tmp_path: Path) -> None:
    Onnxruntime().build(onnx_bytes(), tmp_path / "m.bin")
    made = Remote(Onnxruntime(), tmp_path / "m.bin", 1)
    np.testing.assert_array_equal(made.run({"input": INPUT}, 20)["output"], ANSWER)
    made.close()


def test_one_that_raises_lives_on(remote: Remote) -> None:
    with pytest.raises(VariantFailed, match="worker must answer, got: model must answer, got told not to"):
        remote.run({"input": first(RAISE)})
    np.testing.assert_array_equal(remote.run({"input": INPUT})["output"], ANSWER)


def test_one_that_hangs_is_killed(remote: Remote) -> None:
    with pytest.raises(VariantFailed, match=r"got one that gave no answer in 0\.2 s"):
        remote.run({"input": first(HANG)}, 0.2)
    assert not alive(remote.pid)
    with pytest.raises(VariantFailed, match=r"worker must live, got one that gave no answer in 0\.2 s"):
        remote.run({"input": INPUT})


def test_one_that_dies_is_noticed_at_once(remote: Remote) -> None:
    with pytest.raises(VariantFailed, match="got one that died with exit code -11"):
        remote.run({"input": first(DIE)})


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(BadPortfolio, match="worker must open the file, got: "):
        Remote(Onnxruntime(), b"no model", 1)


def test_a_forgotten_model_ends_its_process() -> None:
    made = Remote(Onnxruntime(), onnx_bytes(), 1)
    pid = made.pid
    del made
    assert not alive(pid)


def test_when_the_parent_is_killed_the_worker_ends_even_while_it_hangs() -> None:
    program = (
        "from tests.runtime.made import *; from edgeshift.runtime.worker import Remote\n"
        "r = Remote(Faulty(from_scale=1), onnx_bytes(), 1); print(r.pid, flush=True)\n"
        "r.run({'input': first(HANG)})"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert not alive(pid)


ARRAYS = [
    {},
    {"a": np.arange(6, dtype=np.float32).reshape(2, 3)},
    {"a": np.array(3.5), "b": np.zeros((0, 4), np.int64), "c": np.array([True, False])},
    {"big": np.ones((300, 1000))},
    {"turned": np.arange(6, dtype=np.int8).reshape(2, 3).T},
]


@pytest.mark.parametrize("arrays", ARRAYS, ids=lambda a: ",".join(a) or "none")
def test_a_message_arrives_as_it_was_sent(arrays: dict[str, np.ndarray]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=send, args=(ours, {"x": 1}, arrays, math.inf))
        sender.start()
        header, found = receive(theirs, time.monotonic() + 20)
        sender.join()
    assert header["x"] == 1
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_objects_are_not_read_from_a_message() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        text = b'{"arrays": [["a", "|O", [1]]]}'
        ours.sendall(len(text).to_bytes(4, "little") + text)
        with pytest.raises(BadPortfolio, match=r"type of a must be a number, got \|O"):
            receive(theirs, time.monotonic() + 5)


def test_a_header_without_end_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"\xff" * 4)
        with pytest.raises(BadPortfolio, match="header of a message must have at most 1048576 bytes, got"):
            receive(theirs, time.monotonic() + 5)


def test_the_end_of_the_other_side_is_an_end() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, pytest.raises(EOFError):
        exactly(theirs, 1, time.monotonic() + 5)
