# SPDX-License-Identifier: Apache-2.0
"""The document at `/openapi.json`: true of every answer, complete for every address."""

from typing import Any

import jsonschema_rs
import pytest

from edgeshift.serve.app import routes
from edgeshift.serve.codes import REFUSALS
from edgeshift.serve.infer import Infer
from edgeshift.serve.service import Service
from tests.serve.made import AUTHORISED, MODEL_AT, Client, body

ONE = "/v2/models/{model}"


def document(client: Client) -> Any:
    return client.get("/openapi.json").json()


def valid(client: Client, schema: Any, value: Any) -> bool:
    whole = {**schema, "components": document(client)["components"]}
    return bool(jsonschema_rs.is_valid(whole, value))


def test_every_address_is_in_it(client: Client, served: tuple[Service, Client]) -> None:
    there = {(path, verb) for path, item in document(client)["paths"].items() for verb in item} - {
        (path, "parameters") for path in document(client)["paths"]
    }
    real = {
        (route.path, verb.lower())  # type: ignore[attr-defined]  # all are Routes
        for route in routes(served[0], Infer(served[0]))
        for verb in route.methods - {"HEAD"}  # type: ignore[attr-defined]
    }
    assert there == real


def test_every_code_can_be_met_somewhere(client: Client) -> None:
    text = client.get("/openapi.json").text
    missing = [code for code in REFUSALS if f'"{code}"' not in text]
    # Said for any address and any method, which a document of addresses cannot hold.
    assert missing == ["not_found", "method_not_allowed"]


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/v2", "/v2"),
        ("/v2/health/live", "/v2/health/live"),
        ("/v2/health/ready", "/v2/health/ready"),
        ("/v2/models", "/v2/models"),
        (MODEL_AT, ONE),
        (f"{MODEL_AT}/ready", f"{ONE}/ready"),
        (f"{MODEL_AT}/versions/small", f"{ONE}/versions/{{version}}"),
        ("/dashboard/data", "/dashboard/data"),
        ("/manage/events", "/manage/events"),
    ],
)
def test_an_answer_is_what_the_document_says(client: Client, path: str, template: str) -> None:
    answer = client.get(path, headers=AUTHORISED)
    said = document(client)["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]
    assert valid(client, said["schema"], answer.json())


def test_requests_and_answers_are_what_the_document_says(client: Client) -> None:
    post = document(client)["paths"][f"{ONE}/infer"]["post"]
    asked = post["requestBody"]["content"]["application/json"]["schema"]
    answered = post["responses"]["200"]["content"]["application/json"]["schema"]
    for request in (body(), body(id="x", parameters={"min_accuracy": 0.9}, outputs=[{"name": "output"}])):
        assert valid(client, asked, request)
        assert valid(client, answered, client.post(f"{MODEL_AT}/infer", json=request).json())


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"inputs": []},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]},
        {"inputs": [{"name": "input", "datatype": "FP64", "shape": [1, 3], "data": [1, 2, 3]}]},
        {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]},
        body(parameters={"min_accuracy": 2}),
        body(parameters={"deadline_ms": 0}),
        body(outputs=[{"name": "x"}]),
        body(id=3),
    ],
)
def test_what_the_document_forbids_the_server_refuses(client: Client, wrong: Any) -> None:
    asked = document(client)["paths"][f"{ONE}/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert not valid(client, asked["schema"], wrong)
    assert client.post(f"{MODEL_AT}/infer", json=wrong).status_code == 400
