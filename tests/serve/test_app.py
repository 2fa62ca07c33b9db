# SPDX-License-Identifier: Apache-2.0
"""The addresses that only read: health, metadata, metrics, the page; and what is at no address."""

from pathlib import Path

import pytest

from edgeshift import __version__
from edgeshift.serve.codes import REFUSALS
from tests.serve.made import MODEL_AT, Client, body, service

PORTS = {
    "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}],
    "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 2]}],
}


def test_the_server_names_itself(client: Client) -> None:
    assert client.get("/v2").json() == {
        "name": "edgeshift",
        "version": __version__,
        "extensions": ["binary_tensor_data"],
    }


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", f"{MODEL_AT}/ready"])
def test_health_is_200(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_metadata_holds_ports_and_versions(client: Client) -> None:
    versions = ["small", "middle", "large"]
    want = {"name": "toy", "versions": versions, "platform": "onnxruntime_onnx", **PORTS}
    assert client.get(MODEL_AT).json() == want
    assert client.get(f"{MODEL_AT}/versions/middle").json() == want
    assert client.get("/v2/models").json() == {"models": ["toy"]}


@pytest.mark.parametrize("version", ["small", "middle", "large"])
def test_every_version_is_ready(client: Client, version: str) -> None:
    assert client.get(f"{MODEL_AT}/versions/{version}/ready").json() == {"ready": True}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/models/other", "unknown_model"),
        ("/v2/models/other/ready", "unknown_model"),
        (f"{MODEL_AT}/versions/9", "unknown_version"),
        (f"{MODEL_AT}/versions/9/ready", "unknown_version"),
        ("/v2/repository/index", "not_found"),
        ("/v2/systemsharedmemory/status", "not_found"),
        ("/v2/", "not_found"),
        ("/docs", "not_found"),
        ("/../../etc/passwd", "not_found"),
        ("/%2e%2e/%2e%2e/etc/passwd", "not_found"),
    ],
)
def test_nothing_else_is_served(client: Client, path: str, code: str) -> None:
    answer = client.get(path)
    assert answer.json() == {"error": REFUSALS[code].text, "code": code}
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v2"), ("GET", f"{MODEL_AT}/infer"), ("PUT", "/metrics")]
)
def test_a_wrong_method_is_405_with_the_right_ones(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] in ("GET, HEAD", "HEAD, GET", "POST")


def test_a_server_that_ends_is_live_and_not_ready(folder: Path) -> None:
    with service(folder) as (running, client):
        running.stopping = True
        assert client.get("/v2/health/live").status_code == 200
        answer = client.get("/v2/health/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")


def test_the_root_leads_to_the_dashboard(client: Client) -> None:
    answer = client.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/dashboard")


def test_the_dashboard_may_only_run_itself(client: Client) -> None:
    answer = client.get("/dashboard")
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/html")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "{{" not in answer.text


def test_the_dashboards_figures_are_json(client: Client) -> None:
    client.post(f"{MODEL_AT}/infer", json=body())
    found = client.get("/dashboard/data?since=0").json()
    assert [v["name"] for v in found["variants"]] == ["small", "middle", "large"]
    assert found["management"] is True
    assert found["now"]["memory_bytes"] > 1 << 20


@pytest.mark.parametrize("query", ["since=-1", "since=x", "since=1&since=2", "until=3", "since=" + "9" * 16])
def test_a_wrong_query_is_refused(client: Client, query: str) -> None:
    answer = client.get(f"/dashboard/data?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_query")
