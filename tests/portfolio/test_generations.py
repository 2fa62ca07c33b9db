# SPDX-License-Identifier: Apache-2.0
"""Generations: numbered once, never written again, signed as a whole, gone back to, swept."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from edgeshift.core.errors import BadPortfolio, BadValue, FolderTaken, TooOld, UnknownName
from edgeshift.portfolio import Portfolio, generations, keys
from tests.portfolio.made import draft, files
from tests.portfolio.test_crash import killed_at


@pytest.fixture
def published(two: Portfolio) -> Portfolio:
    return two.publish()


def more(portfolio: Portfolio, number: int) -> Portfolio:
    """One more variant."""
    return portfolio.add(draft(f"level-{number}", 0.7, 0.5), files(number))


def key(folder: Path, name: str = "k") -> Path:
    keys.new(folder / name)
    return folder / name


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (folder / "generations").iterdir()}


def test_a_draft_has_no_number(two: Portfolio) -> None:
    assert (two.generation, two.generations()) == (0, ())
    assert not (two.path / "generations").exists()


def test_publishing_numbers_it_and_changes_no_variant(two: Portfolio) -> None:
    published = two.publish()
    assert (published.generation, published.previous, published.variants) == (1, 0, two.variants)
    assert Portfolio.open(two.path) == published
    assert published.generations() == (1,)
    assert published.publish() is published


def test_a_change_makes_it_a_draft_that_knows_where_it_came_from(published: Portfolio) -> None:
    changed = more(published, 2)
    assert (changed.generation, changed.previous) == (0, 1)
    assert Portfolio.open(changed.path) == changed
    assert more(changed, 3).previous == 1
    assert (changed.path / "generations" / "00000002.json").exists() is False


def test_numbers_go_up_and_each_knows_the_one_before(published: Portfolio) -> None:
    third = more(more(published, 2).publish(), 3).publish()
    assert (third.generation, third.previous, third.generations()) == (3, 2, (1, 2, 3))


def test_what_was_published_is_read_only_and_stays_as_it_is(published: Portfolio) -> None:
    before = contents(published.path)
    more(published, 2).publish().rolled_back()
    after = contents(published.path)
    assert {name: after[name] for name in before} == before
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (published.path / "generations").iterdir()}
    assert modes == {0o444}


def test_the_current_manifest_is_a_copy_of_its_generation(published: Portfolio) -> None:
    copy = (published.path / "generations" / "00000001.json").read_bytes()
    assert (published.path / "portfolio.json").read_bytes() == copy


def test_the_list_is_what_sha256sum_reads(published: Portfolio) -> None:
    done = subprocess.run(
        ["sha256sum", "-c", "--strict", "generations/00000001.sha256"],
        cwd=published.path,
        capture_output=True,
        text=True,
        check=False,
    )
    blobs = {f.path for v in published for f in v.files.values()}
    assert done.returncode == 0
    assert {line.split(":")[0] for line in done.stdout.splitlines()} == {
        "generations/00000001.json",
        *blobs,
    }


def test_rolling_back_brings_the_one_before_and_the_next_number_is_new(published: Portfolio) -> None:
    second = more(published, 2).publish()
    first = second.rolled_back()
    assert (first.generation, first.variants) == (1, published.variants)
    assert Portfolio.open(first.path) == first
    third = more(first, 3).publish()
    assert (third.generation, third.previous) == (3, 1)
    assert third.rolled_back().generation == 1
    assert third.rolled_back(to=2).variants == second.variants


def test_before_the_first_there_is_nothing(published: Portfolio) -> None:
    with pytest.raises(UnknownName, match="no generation named '0'; known: 1"):
        published.rolled_back()
    with pytest.raises(UnknownName, match="no generation named '7'; known: 1"):
        published.rolled_back(to=7)


def test_a_draft_rolls_back_to_what_it_came_from(published: Portfolio) -> None:
    assert more(published, 2).rolled_back() == published


def test_a_damaged_blob_is_not_published(two: Portfolio) -> None:
    blob = two.path_of(two.variants[0], "onnx")
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(BadPortfolio, match=r"must have \d+ bytes, got"):
        two.publish()
    assert two.generations() == ()


def test_a_manifest_that_is_no_copy_of_its_generation_is_refused(published: Portfolio) -> None:
    second = more(published, 2).publish()
    text = (second.path / "portfolio.json").read_text()
    (second.path / "portfolio.json").write_text(text.replace('"generation": 2', '"generation": 1'))
    with pytest.raises(BadPortfolio, match=r"must be a copy of generations/00000001.json, got another"):
        Portfolio.open(second.path)
    shutil.rmtree(second.path / "generations")
    with pytest.raises(BadPortfolio, match=r"must be a copy of generations/00000001.json, got another"):
        Portfolio.open(second.path)


@pytest.mark.parametrize("number", ["-1", "1.0", '"1"', "true", "100000000", "null"])
def test_a_number_that_is_none_is_refused(published: Portfolio, number: str) -> None:
    text = (published.path / "portfolio.json").read_text()
    (published.path / "portfolio.json").write_text(text.replace('"generation": 1', f'"generation": {number}'))
    with pytest.raises(BadPortfolio, match=r"generation of .* must be 0..99999999, got"):
        Portfolio.open(published.path)


def test_a_number_is_taken_once(published: Portfolio) -> None:
    with pytest.raises(FolderTaken, match="must be written once, got one that is there already"):
        generations.store.put_new(generations.path_of(published.path, 1), b"other")


def test_sweeping_keeps_what_kept_generations_name(published: Portfolio) -> None:
    second = more(published, 2).publish()
    third = Portfolio.open(second.path).rolled_back()
    other = more(third, 3).publish()
    assert other.sweep() == 0
    assert other.earlier(2).variants == second.variants
    assert other.sweep(keep=2) > 0
    assert other.generations() == (1, 3)
    assert other.rolled_back().verify().variants == 2
    with pytest.raises(BadValue, match="generations to keep must be at least 1, got 0"):
        other.sweep(keep=0)


def test_an_unreadable_generation_stops_a_sweep(published: Portfolio) -> None:
    second = more(published, 2).publish()
    path = second.path / "generations" / "00000001.json"
    path.chmod(0o644)
    path.write_text("{}")
    before = sorted(second.path.rglob("*"))
    with pytest.raises(BadPortfolio, match="must be a manifest of format 1"):
        second.sweep()
    assert sorted(second.path.rglob("*")) == before


def test_signed_it_opens_with_the_key_and_without(two: Portfolio, tmp_path: Path) -> None:
    signed = two.sign(key(tmp_path))
    assert Portfolio.open(two.path, tmp_path / "k.pub") == signed == Portfolio.open(two.path)
    assert Portfolio.open(two.path, (tmp_path / "k.pub").read_bytes()) == signed
    assert signed.sign(tmp_path / "k") == signed


def test_two_keys_may_sign_one_generation(two: Portfolio, tmp_path: Path) -> None:
    two.sign(key(tmp_path, "a")).sign(key(tmp_path, "b"))
    assert Portfolio.open(two.path, tmp_path / "a.pub") == Portfolio.open(two.path, tmp_path / "b.pub")


def test_unsigned_signed_by_another_and_drafts_are_refused(two: Portfolio, tmp_path: Path) -> None:
    key(tmp_path, "mine")
    with pytest.raises(BadPortfolio, match=r"must be published and signed by key [0-9a-f]{16}, got a draft"):
        Portfolio.open(two.path, tmp_path / "mine.pub")
    published = two.publish()
    with pytest.raises(BadPortfolio, match=r"generation 1 must be signed by key .*, got no signature"):
        Portfolio.open(two.path, tmp_path / "mine.pub")
    published.sign(key(tmp_path, "other"))
    with pytest.raises(BadPortfolio, match=r"generation 1 must be signed by key .*, got no signature"):
        Portfolio.open(two.path, tmp_path / "mine.pub")
    mine, other = (keys.public(tmp_path / f"{name}.pub").name for name in ("mine", "other"))
    place = two.path / "generations"
    shutil.copy(place / f"00000001.{other}.sig", place / f"00000001.{mine}.sig")
    with pytest.raises(BadPortfolio, match=r"signature of generation 1 must be by key .*, got another one's"):
        Portfolio.open(two.path, tmp_path / "mine.pub")


def test_no_mix_of_two_signed_generations_is_accepted(two: Portfolio, tmp_path: Path) -> None:
    first = two.sign(key(tmp_path))
    second = more(first, 2).sign(tmp_path / "k")
    name = keys.public(tmp_path / "k.pub").name
    place = second.path / "generations"
    for ending in ("sha256", f"{name}.sig", "json"):
        kept = (place / f"00000002.{ending}").read_bytes()
        (place / f"00000002.{ending}").unlink()
        shutil.copy(place / f"00000001.{ending}", place / f"00000002.{ending}")
        with pytest.raises(BadPortfolio, match="must"):
            Portfolio.open(second.path, tmp_path / "k.pub")
        (place / f"00000002.{ending}").unlink()
        (place / f"00000002.{ending}").write_bytes(kept)
    assert Portfolio.open(second.path, tmp_path / "k.pub") == second


def test_rolling_back_asks_for_the_signature_too(two: Portfolio, tmp_path: Path) -> None:
    second = more(two.publish(), 2).sign(key(tmp_path))
    with pytest.raises(BadPortfolio, match=r"generation 1 must be signed by key .*, got no signature"):
        second.rolled_back(public_key=tmp_path / "k.pub")
    assert Portfolio.open(second.path).generation == 2


def test_a_key_is_readable_by_its_owner_alone_and_never_replaced(tmp_path: Path) -> None:
    path = key(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FolderTaken, match=r"key must go into a new file, got .*k that is there already"):
        keys.new(path)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_what_is_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(BadValue, match="public key must be an Ed25519 public key as PEM, got"):
        keys.public(tmp_path / "bad")
    with pytest.raises(BadValue, match="key must be an unencrypted Ed25519 private key as PEM, got"):
        keys.private(tmp_path / "bad")
    with pytest.raises(BadValue, match="key must be an existing file of at most 65536 bytes, got"):
        keys.private(tmp_path / "none")


@pytest.mark.parametrize("start", [1, 5])
def test_killed_at_any_line_of_publishing_it_is_the_draft_or_the_new_generation(
    two: Portfolio, start: int
) -> None:
    step, seen = start, []
    while killed_at(step, lambda: Portfolio.open(two.path).publish()):
        found = Portfolio.open(two.path)
        assert found.variants == two.variants
        seen.append(found.generation)
        if found.generation:
            more(found, 100 + step)  # a draft again, to be published by the next one
            shutil.rmtree(two.path)
            shutil.copytree(two.path.parent / "before", two.path)
        elif step == start:
            shutil.copytree(two.path, two.path.parent / "before")
        step += 29
    assert seen[0] == 0
    found = Portfolio.open(two.path)
    assert found.generation >= 1
    assert found.verify().variants == 2


def test_killed_while_rolling_back_it_is_the_one_or_the_other(published: Portfolio) -> None:
    second = more(published, 2).publish()
    step = 1
    while killed_at(step, lambda: Portfolio.open(second.path).rolled_back(1)):
        assert Portfolio.open(second.path).generation in (1, 2)
        step += 29
    assert Portfolio.open(second.path).generation == 1
    assert os.path.exists(second.path / "generations" / "00000002.json")


def test_a_generation_below_the_least_is_refused_whoever_signed_it(
    published: Portfolio, tmp_path: Path
) -> None:
    signer = key(tmp_path)
    published.sign(signer)
    more(published, 2).sign(signer)
    folder, pinned = published.path, signer.with_name("k.pub")
    # Whoever may write the folder puts the older one back; its signature is right.
    shutil.copy(folder / "generations" / "00000001.json", folder / "portfolio.json")
    assert Portfolio.open(folder, pinned).generation == 1
    with pytest.raises(TooOld, match=r"portfolio\.json must be at least 2 on this device, got 1"):
        Portfolio.open(folder, pinned, 2)


def test_a_draft_is_below_every_least_generation(published: Portfolio) -> None:
    assert Portfolio.open(published.path, least_generation=1) == published
    more(published, 2)
    with pytest.raises(TooOld, match="must be at least 1 on this device, got a draft"):
        Portfolio.open(published.path, least_generation=1)


def test_a_rollback_stays_within_the_least_generation(published: Portfolio) -> None:
    third = more(more(published, 2).publish(), 3).publish()
    assert third.earlier(2, least_generation=2).generation == 2
    second = third.rolled_back(least_generation=2)
    assert second.generation == 2
    for act in (second.rolled_back, lambda **least: second.earlier(1, **least)):
        with pytest.raises(TooOld, match=r"00000001\.json must be at least 2 on this device, got 1"):
            act(least_generation=2)
    assert Portfolio.open(published.path).generation == 2
