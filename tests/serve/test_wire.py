# SPDX-License-Identifier: Apache-2.0
"""A real server on a real port: slow, greedy, silent and broken clients, and those that behave meanwhile."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serve.made import MODEL_AT, Process, body, process, read_all

REQUEST = json.dumps(body()).encode()
HEAD = f"POST {MODEL_AT}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(REQUEST)}\r\n".encode()


@pytest.fixture(scope="module", params=[False, True], ids=["compiled", "base"])
def server(folder: Path, request: pytest.FixtureRequest) -> Iterator[Process]:
    """One with a short patience and few connections, with the optional parser and without."""
    options = ("--read-timeout", "0.5", "--max-connections", "24")
    with process(folder, None, *options, base=request.param) as running:
        yield running


def status(answer: bytes) -> int:
    return int(answer[9:12])


def code(answer: bytes) -> str:
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["code"])


def test_a_request_in_two_pieces_is_answered(server: Process) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD + b"Connection: close\r\n\r\n" + REQUEST[:20])
        time.sleep(0.05)  # so that it arrives in two pieces
        connection.sendall(REQUEST[20:])
        assert status(read_all(connection)) == 200


def test_a_chunked_request_is_answered(server: Process) -> None:
    head = f"POST {MODEL_AT}/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    chunks = f"{len(REQUEST):x}\r\n".encode() + REQUEST + b"\r\n0\r\n\r\n"
    assert status(server.exchange(head.encode() + chunks)) == 200


def test_requests_sent_ahead_are_answered_in_order(server: Process) -> None:
    one = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /v2/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = server.exchange(one + one + last)
    assert answer.count(b'{"live":true}') == 2
    assert answer.endswith(b'{"models":["toy"]}')


@pytest.mark.parametrize("begun", [b"", b"GET", b"GET /v2 HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_headers_that_do_not_come_are_408(server: Process, begun: bytes) -> None:
    answer = server.exchange(begun)
    assert (status(answer), code(answer)) == (408, "read_timeout")


def test_headers_that_drip_are_408(server: Process) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n")
        for _ in range(30):
            try:
                connection.sendall(b"X: y\r\n")
            except OSError:  # closed by the server, which is what is wanted
                break
            time.sleep(0.05)
        else:
            pytest.fail("the server must close within 1.5 s")


def test_a_head_alone_is_sent_whole(server: Process) -> None:
    answer = server.exchange(b"HEAD /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status(answer) == 200
    assert answer.endswith(b"\r\n\r\n")


def test_an_answer_comes_in_one_packet(server: Process) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).endswith(b'{"live":true}')


def test_a_client_that_waits_for_100_hears_it(server: Process) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(REQUEST)
        assert status(read_all(connection)) == 200


def test_a_second_request_must_come_in_time_too(server: Process) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status(connection.recv(4096)) == 200
        connection.sendall(b"GET /v2/hea")
        answer = read_all(connection)
        assert (status(answer), code(answer)) == (408, "read_timeout")


def test_a_body_that_does_not_come_is_408(server: Process) -> None:
    answer = server.exchange(HEAD + b"\r\n" + REQUEST[:20])
    assert (status(answer), code(answer)) == (408, "read_timeout")


def test_headers_without_an_end_are_431(server: Process) -> None:
    answer = server.exchange(b"GET /v2 HTTP/1.1\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 1000)
    assert (status(answer), code(answer)) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,  # a TLS hello
        b"GET /v2 HTTP/x\r\n\r\n",
        b"GET  \r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_400_or_408_and_closed(server: Process, garbage: bytes) -> None:
    assert status(server.exchange(garbage)) in (400, 408, 405)


def test_a_declared_body_over_the_limit_is_413(server: Process) -> None:
    head = f"POST {MODEL_AT}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {5 << 20}\r\n\r\n".encode()
    answer = server.exchange(head + b"x" * (5 << 20))
    assert (status(answer), code(answer)) == (413, "body_too_large")


def test_a_chunked_body_without_an_end_is_413(server: Process) -> None:
    head = f"POST {MODEL_AT}/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    with server.connect() as connection:
        connection.sendall(head)
        try:
            for _ in range(40):
                connection.sendall(chunk)
        except OSError:  # the server hung up while this was sending
            return
        assert status(read_all(connection)) == 413


def test_one_connection_too_many_is_503_and_the_others_go_on(server: Process) -> None:
    live = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    held = [server.connect() for _ in range(24)]
    try:
        for connection in held:
            connection.sendall(live)
            assert status(connection.recv(4096)) == 200
        answer = server.exchange(live)
        assert (status(answer), code(answer)) == (503, "busy")
        held[0].sendall(live)
        assert status(held[0].recv(4096)) == 200
    finally:
        for connection in held:
            connection.close()


def test_clients_that_hang_up_do_no_harm(server: Process) -> None:
    for cut in range(0, len(HEAD) + len(REQUEST), 23):
        with server.connect() as connection:
            connection.sendall((HEAD + b"\r\n" + REQUEST)[:cut])
    with httpx.Client(base_url=server.url) as client:
        assert client.post(f"{MODEL_AT}/infer", json=body()).status_code == 200


def test_slow_clients_do_not_keep_others_waiting(server: Process) -> None:
    slow = [server.connect() for _ in range(20)]
    try:
        for connection in slow:
            connection.sendall(HEAD)
        with httpx.Client(base_url=server.url) as client:
            for _ in range(20):
                assert client.post(f"{MODEL_AT}/infer", json=body()).status_code == 200
    finally:
        for connection in slow:
            connection.close()
