# SPDX-License-Identifier: Apache-2.0
"""One request in, tensors out: JSON and raw, the variant named, every refusal by its status."""

import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeshift.serve.codes import REFUSALS
from edgeshift.serve.limits import Limits
from edgeshift.serve.service import Service
from tests.serve.made import MODEL_AT, Client, body, service

RAW_HEAD = {
    "inputs": [
        {"name": "input", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
    ],
    "parameters": {"binary_data_output": True},
}


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * (1 << 20)


def refused(client: Client, code: str, **options: Any) -> None:
    if isinstance(count := options.get("content"), int):
        options["content"] = chunks(count)
    answer = client.post(f"{MODEL_AT}/infer", **options)
    assert answer.json() == {"error": REFUSALS[code].text, "code": code}
    assert answer.status_code == REFUSALS[code].status


@pytest.mark.parametrize(("version", "row"), [("small", [1, 2]), ("middle", [2, 4]), ("large", [3, 6])])
def test_a_version_is_a_variant(client: Client, version: str, row: list[float]) -> None:
    found = client.post(f"{MODEL_AT}/versions/{version}/infer", json=body()).json()
    assert found["model_version"] == version
    assert found["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [1, 2], "data": row}]


def test_a_variant_answers_by_its_id_too(client: Client, served: tuple[Service, Client]) -> None:
    identity = served[0].model.ladder[1].id
    assert (
        client.post(f"{MODEL_AT}/versions/{identity}/infer", json=body()).json()["model_version"] == "middle"
    )


def test_without_a_version_the_answer_names_the_one_chosen(client: Client) -> None:
    found = client.post(f"{MODEL_AT}/infer", json=body(id="q1")).json()
    factor = {"small": 1, "middle": 2, "large": 3}[found["model_version"]]
    assert found["outputs"][0]["data"] == [factor, 2 * factor]
    assert found["id"] == "q1"
    assert found["model_name"] == "toy"
    assert found["parameters"].keys() == {"generation", "variant_id"}


def test_batches_go_through(client: Client) -> None:
    found = client.post(f"{MODEL_AT}/versions/small/infer", json=body([[1, 0, 0], [0, 1, 1]])).json()
    assert found["outputs"][0]["shape"] == [2, 2]
    assert found["outputs"][0]["data"] == [1, 2, 8, 10]


def test_raw_tensors_in_and_out(client: Client) -> None:
    head = json.dumps(RAW_HEAD).encode()
    answer = client.post(
        f"{MODEL_AT}/versions/small/infer",
        content=head + struct.pack("<3f", 0, 1, 1),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert json.loads(answer.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert struct.unpack("<2f", answer.content[length:]) == (8, 10)


@pytest.mark.parametrize(("floor", "least"), [(0.8, "small"), (0.85, "middle"), (0.95, "large")])
def test_min_accuracy_is_kept(
    client: Client, served: tuple[Service, Client], floor: float, least: str
) -> None:
    served[0].switcher.pin("small")
    found = client.post(f"{MODEL_AT}/infer", json=body(parameters={"min_accuracy": floor})).json()
    assert found["model_version"] == least


def test_min_accuracy_lets_an_accurate_active_variant_answer(
    client: Client, served: tuple[Service, Client]
) -> None:
    served[0].switcher.pin("large")
    found = client.post(f"{MODEL_AT}/infer", json=body(parameters={"min_accuracy": 0.85})).json()
    assert found["model_version"] == "large"


def test_an_accuracy_that_no_variant_has_is_refused(client: Client) -> None:
    refused(client, "unreachable_accuracy", json=body(parameters={"min_accuracy": 0.99}))


def test_a_version_below_the_asked_accuracy_is_refused(client: Client) -> None:
    answer = client.post(f"{MODEL_AT}/versions/small/infer", json=body(parameters={"min_accuracy": 0.9}))
    assert answer.json()["code"] == "unreachable_accuracy"


def test_a_deadline_that_has_passed_is_429_with_retry_after(client: Client) -> None:
    answer = client.post(f"{MODEL_AT}/infer", json=body(parameters={"deadline_ms": 0.001}))
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (
        429,
        "deadline",
        "1",
    )


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("bad_json", {"content": b"{"}),
        ("bad_json", {"content": b""}),
        ("too_deep", {"content": b'{"inputs":' + b"[" * 10_000}),
        ("wrong_size", {"json": body([[1, 2]])}),
        ("unsupported_encoding", {"content": b"x", "headers": {"Content-Encoding": "gzip"}}),
        ("bad_header_length", {"content": b"{}", "headers": {"Inference-Header-Content-Length": "x"}}),
        ("bad_header_length", {"content": b"{}", "headers": {"Inference-Header-Content-Length": "3"}}),
        ("bad_header_length", {"content": b"{}", "headers": {"Inference-Header-Content-Length": "-1"}}),
        ("body_too_large", {"content": b"x" * ((4 << 20) + 1)}),
        ("body_too_large", {"content": 5}),
        ("headers_too_large", {"json": body(), "headers": {"X": "y" * 16_384}}),
    ],
)
def test_a_wrong_request_is_refused(client: Client, code: str, options: dict[str, Any]) -> None:
    refused(client, code, **options)


def test_a_body_of_exactly_the_limit_is_read(folder: Path) -> None:
    content = json.dumps(body()).encode()
    with service(folder, limits=Limits(body_bytes=len(content))) as (_, client):
        assert client.post(f"{MODEL_AT}/infer", content=content).status_code == 200
        assert client.post(f"{MODEL_AT}/infer", content=content + b" ").status_code == 413


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/models/other/infer", "unknown_model"),
        ("/v2/models/toy/versions/9/infer", "unknown_version"),
        ("/v2/models/toy/versions/..%2f/infer", "not_found"),
        (f"/v2/models/{'t' * 3000}/infer", "path_too_long"),
    ],
)
def test_a_wrong_address_is_refused(client: Client, path: str, code: str) -> None:
    assert client.post(path, json=body()).json()["code"] == code


def test_a_closed_switcher_is_503(folder: Path) -> None:
    with service(folder) as (running, client):
        running.switcher.close()
        answer = client.post(f"{MODEL_AT}/infer", json=body())
        assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
        assert answer.headers["retry-after"] == "1"


def test_a_long_body_is_read_beside_the_event_loop(client: Client) -> None:
    rows = [[0.125, -0.25, 0.5]] * 20_000  # 400 kB of JSON
    found = client.post(f"{MODEL_AT}/versions/small/infer", json=body(rows)).json()
    assert found["outputs"][0]["shape"] == [20_000, 2]
    assert found["outputs"][0]["data"][:2] == [1.875, 2.25]
    # 0.125 * 1 - 0.25 * 3 + 0.5 * 5 and 0.125 * 2 - 0.25 * 4 + 0.5 * 6


def test_answers_cannot_be_taken_for_pages(client: Client) -> None:
    for answer in (client.post(f"{MODEL_AT}/infer", json=body()), client.post(f"{MODEL_AT}/infer")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "no-store"
