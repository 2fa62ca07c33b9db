# SPDX-License-Identifier: Apache-2.0
"""The process: how it starts, what it refuses to start with, how it ends; and NVIDIA's client, unchanged."""

import errno
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from edgeshift.core.errors import BadValue
from edgeshift.serve import Settings, is_loopback, serve
from edgeshift.serve.server import listen
from tests.portfolio.made import WEIGHT
from tests.serve.made import FACTORS, MODEL_AT, Process, body, process, read_all

ROWS = np.array([[1, 0, 0], [0, 1, 1]], np.float32)


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One that is started as a user does."""
    with process(folder, tmp_path_factory.mktemp("token") / "token") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Process) -> Iterator[triton.InferenceServerClient]:
    """NVIDIA's."""
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as found:
        yield found


def asked(*, binary: bool) -> triton.InferInput:
    found = triton.InferInput("input", [2, 3], "FP32")
    found.set_data_from_numpy(ROWS, binary_data=binary)
    return found


def test_tritonclient_sees_server_and_model(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy")
    assert client.is_model_ready("toy", "small")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata("toy")["inputs"] == [
        {"name": "input", "datatype": "FP32", "shape": [-1, 3]}
    ]


@pytest.mark.parametrize("binary_in", [True, False], ids=["raw-in", "json-in"])
@pytest.mark.parametrize("binary_out", [True, False, None], ids=["raw-out", "json-out", "any-out"])
@pytest.mark.parametrize("version", sorted(FACTORS))
def test_tritonclient_infers(
    client: triton.InferenceServerClient, version: str, binary_in: bool, binary_out: bool | None
) -> None:
    outputs = None
    if binary_out is not None:
        outputs = [triton.InferRequestedOutput("output", binary_data=binary_out)]
    found = client.infer("toy", [asked(binary=binary_in)], version, outputs, request_id="7")
    assert (found.as_numpy("output") == ROWS @ WEIGHT * FACTORS[version]).all()
    assert found.get_response()["model_version"] == version
    assert found.get_response()["id"] == "7"


def test_tritonclient_passes_parameters(client: triton.InferenceServerClient) -> None:
    found = client.infer(
        "toy", [asked(binary=True)], parameters={"min_accuracy": 0.95, "deadline_ms": 5000.0}
    )
    assert found.get_response()["model_version"] == "large"


def test_tritonclient_hears_the_sentence_of_a_refusal(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="model must be the one at /v2/models"):
        client.infer("other", [asked(binary=True)])
    with pytest.raises(InferenceServerException, match="request must do without shared memory"):
        client.infer("toy", [asked(binary=True)], sequence_id=3)


def test_it_listens_on_loopback_alone(server: Process) -> None:
    line = ["/proc/net/tcp", "/proc/net/tcp6"]
    found = [
        row.split()[1]
        for path in line
        if Path(path).exists()
        for row in Path(path).read_text(encoding="ascii").splitlines()[1:]
        if row.split()[3] == "0A" and row.split()[1].endswith(f":{server.port:04X}")
    ]
    assert found == [f"0100007F:{server.port:04X}"]


@pytest.mark.parametrize("base", [False, True], ids=["compiled", "base"])
def test_sigterm_answers_what_is_in_flight_and_ends_with_0(folder: Path, base: bool) -> None:
    with process(folder, base=base) as running:
        content = b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3], "data": [1, 0, 0]}]}'
        with running.connect() as connection:
            head = f"POST {MODEL_AT}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
            connection.sendall(head.encode() + content[:40])
            with ThreadPoolExecutor(1) as pool:
                assert (
                    httpx.get(f"{running.url}/v2/health/live").status_code == 200
                )  # the half is read by now
                running.running.send_signal(signal.SIGTERM)
                ended = pool.submit(running.running.wait, 60)
                while not refused(running.port):
                    time.sleep(0.005)
                connection.sendall(content[40:])
                answer = read_all(connection)
                assert answer.startswith(b"HTTP/1.1 200")
                assert (
                    answer.lower().count(b"connection: close") == 1
                )  # h11 may write the name with a capital
                assert ended.result() == 0


def refused(port: int) -> bool:
    """Whether nobody listens there; another error, such as no port left to ask from, does not tell."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_ctrl_c_ends_with_130(folder: Path) -> None:
    with process(folder) as running:
        running.running.send_signal(signal.SIGINT)
        assert running.running.wait(60) == 130


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        (Settings(port=70000), "port must be 0 to 65535, got 70000"),
        (Settings(deadline_ms=0.0), "deadline_ms must be a finite number above 0, got 0.0"),
        (Settings(workers=0), "workers must be at least 1, got 0"),
        (Settings(port=0, host="203.0.113.1"), "address to listen on must be free and of this machine"),
        (Settings(port=0, name="a/b"), "name of the model must be 1 to 64 of"),
    ],
)
def test_wrong_settings_are_refused(folder: Path, settings: Settings, want: str) -> None:
    with pytest.raises(BadValue, match=want):
        serve(folder, settings)


def test_a_taken_port_is_refused() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(BadValue, match="free and of this machine"):
        listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "want"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("example.org", False),
    ],
)
def test_loopback_is_told_from_the_network(host: str, want: bool) -> None:
    assert is_loopback(host) is want


def test_many_clients_at_once_all_hear_their_own_answer(server: Process) -> None:
    def ask(i: int) -> bool:
        with httpx.Client(base_url=server.url) as each:
            for j in range(20):
                found = each.post(f"{MODEL_AT}/infer", json=body([[i, j, 0]])).json()
                factor = FACTORS[found["model_version"]]
                if found["outputs"][0]["data"] != [factor * (i + 3 * j), factor * (2 * i + 4 * j)]:
                    return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_nothing_is_said_on_stderr(folder: Path) -> None:
    with process(folder) as running:
        running.exchange(b"garbage\r\n\r\n")
        running.running.send_signal(signal.SIGTERM)
        assert isinstance(running.running, subprocess.Popen)
        assert running.running.communicate(timeout=60)[1] == ""
