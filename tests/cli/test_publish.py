# SPDX-License-Identifier: Apache-2.0
"""`edgeshift publish`, `sign`, `verify --public-key` and `rollback`, as typed."""

from pathlib import Path

import pytest

from edgeshift.portfolio import Portfolio
from tests.cli.typed import run
from tests.portfolio.made import draft, files


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a portfolio of one variant, `p`, and a key, `k`; the test stands in it."""
    from tests.portfolio.made import DATA, MODEL, RECIPE

    monkeypatch.chdir(tmp_path)
    Portfolio.create(Path("p"), MODEL, DATA, RECIPE).add(draft("level-0"), files(0))
    return tmp_path


def grow(number: int) -> None:
    """One more variant, so that there is something to publish."""
    Portfolio.open("p").add(draft(f"level-{number}", 0.7, 0.5), files(number))


def test_publish_says_the_number(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "publish", "p") == (0, "generation 1 of p is current\n", "")
    assert run(capsys, "publish", "p") == (0, "generation 1 of p is current\n", "")
    grow(1)
    assert run(capsys, "publish", "p") == (0, "generation 2 of p is current\n", "")


def test_publish_keeps_as_many_as_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2, 3):
        run(capsys, "publish", "p")
        grow(number)
    code, out, err = run(capsys, "publish", "p", "--keep", "2")
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == "generation 4 of p is current"
    assert second.startswith("kept 3, 4; ")
    assert Portfolio.open("p").generations() == (3, 4)


def test_publish_of_a_changed_file_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blob = here / "p" / Portfolio.open("p").variants[0].files["onnx"].path
    blob.chmod(0o600)
    blob.write_bytes(b"another")
    code, out, err = run(capsys, "publish", "p")
    assert (code, out) == (2, "")
    assert err.startswith("edgeshift: blobs/")
    assert err.count("\n") == 1
    assert Portfolio.open("p").generation == 0


def test_a_key_signs_what_it_verifies(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "sign", "--new-key", "k")
    assert (code, err) == (0, "")
    name = out.split(":")[0].removeprefix("key ")
    assert out == f"key {name}: keep k secret, hand out k.pub\n"
    signed = run(capsys, "sign", "p", "--key", "k")
    assert signed == (0, f"generation 1 of p is signed by key {name}\n", "")
    code, out, err = run(capsys, "verify", "p", "--public-key", "k.pub")
    assert (code, err) == (0, "")
    assert out.startswith("1 variants, ")


def test_an_unsigned_portfolio_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "--new-key", "k")
    code, out, err = run(capsys, "verify", "p", "--public-key", "k.pub")
    assert (code, out) == (2, "")
    assert "p must be published and signed by key" in err
    run(capsys, "publish", "p")
    assert "generation 1 must be signed by key" in run(capsys, "verify", "p", "--public-key", "k.pub")[2]


def test_another_ones_key_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "--new-key", "k")
    run(capsys, "sign", "--new-key", "other")
    run(capsys, "sign", "p", "--key", "k")
    code, _, err = run(capsys, "verify", "p", "--public-key", "other.pub")
    assert code == 2
    assert "generation 1 must be signed by key" in err


@pytest.mark.parametrize(
    "words", [(), ("p",), ("--key", "k"), ("p", "--new-key", "k"), ("--key", "k", "--new-key", "n")]
)
def test_sign_wants_a_portfolio_and_a_key_or_a_new_key_alone(
    here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    code, out, err = run(capsys, "sign", *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert " must be " in err


def test_a_key_is_never_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "--new-key", "k")
    before = Path("k").read_bytes()
    assert run(capsys, "sign", "--new-key", "k")[0] == 2
    assert Path("k").read_bytes() == before


def test_rollback_goes_to_the_one_before_or_to_a_number(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3):
        run(capsys, "publish", "p")
        grow(number)
    run(capsys, "publish", "p")
    assert run(capsys, "rollback", "p") == (0, "generation 3 of p is current\n", "")
    assert run(capsys, "rollback", "p", "--to", "1") == (0, "generation 1 of p is current\n", "")
    assert [v.name for v in Portfolio.open("p")] == ["level-0"]


def test_rollback_without_an_earlier_one_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "publish", "p")
    assert run(capsys, "rollback", "p") == (2, "", "edgeshift: no generation named '0'; known: 1\n")


def test_rollback_wants_the_signature_of_that_generation(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "sign", "--new-key", "k")
    run(capsys, "publish", "p")
    grow(1)
    run(capsys, "sign", "p", "--key", "k")
    code, _, err = run(capsys, "rollback", "p", "--public-key", "k.pub")
    assert code == 2
    assert "generation 1 must be signed by key" in err
    assert Portfolio.open("p").generation == 2


def test_what_is_below_the_least_generation_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "publish", "p")
    grow(1)
    run(capsys, "publish", "p")
    assert run(capsys, "verify", "p", "--least-generation", "2")[0] == 0
    code, _, err = run(capsys, "rollback", "p", "--least-generation", "2")
    assert (code, err) == (
        2,
        "edgeshift: generation of p/generations/00000001.json must be at least 2 on this device, got 1\n",
    )
    assert Portfolio.open("p").generation == 2
    grow(2)
    says = "edgeshift: generation of p/portfolio.json must be at least 2 on this device, got a draft\n"
    assert run(capsys, "verify", "p", "--least-generation", "2") == (2, "", says)
