# SPDX-License-Identifier: Apache-2.0
"""Management: absent without a token, closed without the right one, and what each call does."""

from pathlib import Path
from typing import Any

import pytest

from edgeshift.core.errors import BadValue
from edgeshift.portfolio import Portfolio
from edgeshift.serve.service import Service, read_token
from tests.serve.made import AUTHORISED, MODEL_AT, TOKEN, Client, body, portfolio, service

CALLS = ["switch", "pin", "unpin", "reload", "rollback"]


@pytest.mark.parametrize("word", CALLS)
def test_without_a_token_file_there_is_no_management(folder: Path, word: str) -> None:
    with service(folder) as (_, client):
        answer = client.post(f"/manage/{word}", json={"variant": "small"}, headers=AUTHORISED)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "/manage/" not in client.get("/openapi.json").text


@pytest.mark.parametrize("word", CALLS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
    ],
)
def test_a_wrong_token_is_401(client: Client, word: str, headers: dict[str, str]) -> None:
    answer = client.post(f"/manage/{word}", json={"variant": "small"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def call(client: Client, word: str, **fields: Any) -> Any:
    return client.post(f"/manage/{word}", json=fields, headers=AUTHORISED)


def test_a_pinned_variant_answers_until_it_is_unpinned(client: Client) -> None:
    for name in ("large", "small", "middle"):
        assert call(client, "pin", variant=name).json() == {"active": name, "pinned": name, "generation": 0}
        assert client.post(f"{MODEL_AT}/infer", json=body()).json()["model_version"] == name
    assert call(client, "unpin").json()["pinned"] is None


def test_a_switch_is_an_event_with_its_cause(client: Client, served: tuple[Service, Client]) -> None:
    other = "small" if served[0].switcher.active.profile.name != "small" else "large"
    before = client.get("/manage/events", headers=AUTHORISED).json()["events"]
    last = before[-1]["number"] if before else 0
    assert call(client, "switch", variant=other).json()["active"] == other
    (event,) = client.get(f"/manage/events?since={last}", headers=AUTHORISED).json()["events"]
    assert (event["number"], event["to"], event["cause"]) == (last + 1, other, "manual")


@pytest.mark.parametrize(
    ("word", "content", "status", "code"),
    [
        ("switch", b'{"variant": "none"}', 404, "unknown_version"),
        ("switch", b'{"variant": 3}', 400, "bad_request"),
        ("switch", b'{"variant": "small", "more": 1}', 400, "bad_request"),
        ("switch", b"", 400, "bad_request"),
        ("pin", b"[]", 400, "bad_json"),
        ("unpin", b'{"variant": "small"}', 400, "bad_request"),
        ("reload", b"{", 400, "bad_json"),
        ("rollback", b"", 409, "nothing_before"),
    ],
)
def test_a_wrong_call_changes_nothing(
    client: Client, word: str, content: bytes, status: int, code: str
) -> None:
    answer = client.post(f"/manage/{word}", content=content, headers=AUTHORISED)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_reload_serves_what_the_folder_holds(tmp_path: Path) -> None:
    portfolio(tmp_path / "p", ("small", "middle"))
    with service(tmp_path / "p", token=TOKEN) as (_, client):
        portfolio(tmp_path / "p", ("large",))
        assert call(client, "reload").status_code == 200
        assert client.get(MODEL_AT).json()["versions"] == ["small", "middle", "large"]
        found = client.post(f"{MODEL_AT}/versions/large/infer", json=body()).json()
        assert found["outputs"][0]["data"] == [3, 6]


def test_a_reload_of_a_broken_folder_leaves_the_old_one_serving(tmp_path: Path) -> None:
    portfolio(tmp_path / "p", ("small",))
    with service(tmp_path / "p", token=TOKEN) as (_, client):
        (tmp_path / "p" / "portfolio.json").write_bytes(b"{")
        answer = call(client, "reload")
        assert (answer.status_code, answer.json()["code"]) == (409, "bad_portfolio")
        assert client.post(f"{MODEL_AT}/infer", json=body()).status_code == 200


@pytest.mark.parametrize(
    ("content", "mode", "want"),
    [
        ("short", 0o600, "length of the management token must be at least 16"),
        ("with spaces in it, long", 0o600, "without spaces"),
        (TOKEN, 0o644, "mode of the management token file must be 0o600"),
        ("ü" * 20, 0o600, "a readable file of ASCII text"),
    ],
)
def test_a_careless_token_file_is_refused(tmp_path: Path, content: str, mode: int, want: str) -> None:
    path = tmp_path / "token"
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(BadValue, match=want):
        read_token(path)


def test_a_token_file_may_end_in_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n", encoding="ascii")
    path.chmod(0o600)
    assert read_token(path) == TOKEN


def test_a_generation_below_the_least_is_neither_reloaded_nor_gone_back_to(tmp_path: Path) -> None:
    path = portfolio(tmp_path / "p", ("small", "middle"))
    Portfolio.open(path).publish()
    portfolio(path, ("large",))
    Portfolio.open(path).publish()
    with service(path, token=TOKEN, least_generation=2) as (running, client):
        for word in ("rollback", "reload"):
            answer = call(client, word)
            assert (answer.status_code, answer.json()["code"]) == (409, "too_old")
            assert running.engine.generation == 2
            assert Portfolio.open(path).generation == (2 if word == "rollback" else 1)
            Portfolio.open(path).rolled_back(1)  # what an attacker puts back, before the reload
        assert client.post(f"{MODEL_AT}/versions/large/infer", json=body()).status_code == 200


def test_a_rollback_goes_back_one_generation(tmp_path: Path) -> None:
    path = portfolio(tmp_path / "p", ("small", "middle"))
    Portfolio.open(path).publish()
    portfolio(path, ("large",))
    Portfolio.open(path).publish()
    with service(path, token=TOKEN, least_generation=1) as (_, client):
        assert call(client, "rollback").json()["generation"] == 1
        assert client.get(MODEL_AT).json()["versions"] == ["small", "middle"]
