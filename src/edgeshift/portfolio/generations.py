# SPDX-License-Identifier: Apache-2.0
"""Published manifests by number, each with a list of checksums that can be signed; see docs/decisions/0005.

    portfolio.json                          the current manifest; if it was published, a copy of its generation
    generations/00000007.json               a published manifest
    generations/00000007.sha256             its checksum and those of all its blobs, as `sha256sum -c` reads them
    generations/00000007.<key's name>.sig   64 bytes: Ed25519 over the list

Nothing in `generations/` is written twice. Which generation came before which stands in the manifests: a number
that a crash left behind is never gone back to.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from edgeshift.core.errors import BadPortfolio, BadValue, TooOld, UnknownName
from edgeshift.core.files import write_bytes
from edgeshift.portfolio import manifest as manifests
from edgeshift.portfolio import store
from edgeshift.portfolio.keys import PrivateKey, PublicKey
from edgeshift.portfolio.manifest import Edition

FOLDER = "generations"
NUMBERED = re.compile(r"(\d{8})\.(json|sha256|[0-9a-f]{16}\.sig)")


def path_of(folder: Path, number: int, ending: str = "json") -> Path:
    """Where a file of a generation lies."""
    return folder / FOLDER / f"{number:08d}.{ending}"


def found(folder: Path) -> list[tuple[int, Path]]:
    """Number and path of every file of every generation, sorted.

    Raises:
        BadPortfolio: If the folder is a link.
    """
    place = folder / FOLDER
    if place.is_symlink():
        raise BadPortfolio(f"{FOLDER} must be a folder inside the portfolio, got a link")
    matches = [(NUMBERED.fullmatch(p.name), p) for p in place.iterdir()] if place.is_dir() else []
    return sorted((int(match[1]), path) for match, path in matches if match)


def numbers(folder: Path) -> tuple[int, ...]:
    """Of the generations that are kept, the oldest first."""
    return tuple(number for number, path in found(folder) if path.suffix == ".json")


def digests(edition: Edition, data: bytes) -> bytes:
    """The list to sign: manifest and blobs with their SHA-256, as `sha256sum -c` reads it in the portfolio."""
    lines = {path_of(Path(), edition.generation).as_posix(): hashlib.sha256(data).hexdigest()}
    for variant in edition.manifest.variants:
        lines |= {file.path: file.sha256 for file in variant.files.values()}
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(lines.items())).encode()


def publish(folder: Path, draft: Edition) -> Edition:
    """The draft under the next free number, current from now on.

    Raises:
        BadPortfolio: If a blob is missing or was changed.
        FolderTaken: If another process published at the same moment.
        DiskFull: If there is no room; the draft stays current.
    """
    for variant in draft.manifest.variants:
        for file in variant.files.values():
            store.check(folder, file)
    taken = [number for number, _ in found(folder)]
    edition = replace(draft, generation=max([draft.previous, *taken]) + 1)
    data = edition.to_bytes()
    store.put_new(path_of(folder, edition.generation, "sha256"), digests(edition, data))
    store.put_new(path_of(folder, edition.generation), data)
    write_bytes(folder / manifests.NAME, data)
    return edition


def sign(folder: Path, edition: Edition, key: PrivateKey) -> None:
    """Write the signature of a generation; one that is there already stays.

    Raises:
        BadPortfolio: If the list of checksums is not that of the manifest.
    """
    target = path_of(folder, edition.generation, f"{key.public.name}.sig")
    if not target.exists():
        data = manifests.content(path_of(folder, edition.generation))
        store.put_new(target, key.sign(listed(folder, edition, data)))


def listed(folder: Path, edition: Edition, data: bytes) -> bytes:
    """The list of a generation's checksums, compared with its manifest.

    Raises:
        BadPortfolio: If it is missing or another.
    """
    path = path_of(folder, edition.generation, "sha256")
    wanted = digests(edition, data)
    if not store.is_plain(path) or path.stat().st_size != len(wanted) or path.read_bytes() != wanted:
        raise BadPortfolio(f"{path} must list the checksums of its generation, got another list or none")
    return wanted


def trusted(folder: Path, data: bytes, path: Path, key: PublicKey | None, least: int = 0) -> Edition:
    """A manifest from its bytes, signed if a key is given. No blob is opened.

    Args:
        folder: The portfolio.
        data: The bytes of `path`.
        path: What to call them in messages.
        key: Who must have signed; None = no signature is asked for.
        least: Smallest generation to accept; 0 = any, drafts too.

    Raises:
        BadPortfolio: If it must not be trusted.
        TooOld: If its number is below `least`.
    """
    edition = manifests.parse(data, path)
    if edition.generation < least:
        got = edition.generation or "a draft"
        raise TooOld(f"generation of {path} must be at least {least} on this device, got {got}")
    if edition.generation:
        copy = path_of(folder, edition.generation)
        if not store.is_plain(copy) or copy.stat().st_size != len(data) or copy.read_bytes() != data:
            raise BadPortfolio(f"{path} must be a copy of {FOLDER}/{copy.name}, got another manifest")
    if key is not None:
        _signed(folder, edition, data, key)
    return edition


def _signed(folder: Path, edition: Edition, data: bytes, key: PublicKey) -> None:
    if not edition.generation:
        raise BadPortfolio(f"{folder} must be published and signed by key {key.name}, got a draft")
    path = path_of(folder, edition.generation, f"{key.name}.sig")
    if not store.is_plain(path):
        raise BadPortfolio(
            f"generation {edition.generation} must be signed by key {key.name}, got no signature"
        )
    if path.stat().st_size != 64 or not key.signed(listed(folder, edition, data), path.read_bytes()):
        raise BadPortfolio(
            f"signature of generation {edition.generation} must be by key {key.name}, got another one's"
        )


def current(folder: Path, key: PublicKey | None, least: int = 0) -> Edition:
    """The manifest in force; see `trusted`.

    Raises:
        BadPortfolio: If there is none, or it must not be trusted.
        TooOld: If its number is below `least`.
    """
    path = folder / manifests.NAME
    return trusted(folder, manifests.content(path), path, key, least)


def earlier(folder: Path, number: int, key: PublicKey | None, least: int = 0) -> tuple[Edition, bytes]:
    """A kept generation and the bytes of its file, its blobs compared with their checksums.

    Raises:
        UnknownName: If it is not kept.
        BadPortfolio: If it must not be trusted.
        TooOld: If its number is below `least`.
    """
    known = numbers(folder)
    if number not in known:
        raise UnknownName("generation", str(number), map(str, known))
    path = path_of(folder, number)
    data = manifests.content(path)
    edition = trusted(folder, data, path, key, least)
    if edition.generation != number:
        raise BadPortfolio(f"{path} must hold generation {number}, got {edition.generation}")
    for variant in edition.manifest.variants:
        for file in variant.files.values():
            store.check(folder, file)
    return edition, data


def roll_back(folder: Path, number: int, key: PublicKey | None, least: int = 0) -> Edition:
    """A kept generation, current from now on; see `earlier`.

    Raises:
        DiskFull: If there is no room; the current one stays.
    """
    edition, data = earlier(folder, number, key, least)
    write_bytes(folder / manifests.NAME, data)
    return edition


def blobs(folder: Path, gone: set[int]) -> set[str]:
    """Checksums that a generation names, those in `gone` apart.

    Raises:
        BadPortfolio: If one cannot be read.
    """
    used: set[str] = set()
    for number in set(numbers(folder)) - gone:
        path = path_of(folder, number)
        for variant in manifests.parse(manifests.content(path), path).manifest.variants:
            used |= {file.sha256 for file in variant.files.values()}
    return used


def beyond(folder: Path, edition: Edition, keep: int) -> list[tuple[int, Path]]:
    """Number and path of the files of generations that are not among the last `keep` up to this one.

    Raises:
        BadValue: If `keep` is below 1.
        BadPortfolio: If one that is kept cannot be read.
    """
    if keep < 1:
        raise BadValue("generations to keep", keep, "at least 1")
    there = set(numbers(folder))
    kept: list[int] = []
    number = edition.generation or edition.previous
    while number in there and len(kept) < keep and number not in kept:
        kept.append(number)
        path = path_of(folder, number)
        number = manifests.parse(manifests.content(path), path).previous
    return [(number, path) for number, path in found(folder) if number not in kept]
