# SPDX-License-Identifier: Apache-2.0
"""`portfolio.json`: what the variants are, with a format version and a checksum of itself."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeshift.core.errors import BadDigest, BadPortfolio, BadValue
from edgeshift.core.files import write_bytes
from edgeshift.core.recipe import canonical
from edgeshift.core.values import ModelRef, Variant, model_ref_from_json, to_json, variant_from_json
from edgeshift.portfolio.store import is_plain

NAME = "portfolio.json"
FORMAT = 1
# A manifest of 10,000 variants has about 40 MiB; more is an attack or a mistake.
MAX_BYTES = 256 << 20
# Eight digits in a file's name.
MAX_GENERATION = 10**8


@dataclass(frozen=True)
class Manifest:
    """The body of `portfolio.json`.

    Attributes:
        model: The model all variants came from.
        data: Data set and its facts, JSON values.
        recipe: What was asked for, JSON values.
        variants: In the order they were added.
    """

    model: ModelRef
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    variants: tuple[Variant, ...] = ()

    def body(self) -> dict[str, Any]:
        """JSON types, all of them; two manifests are equal if their bodies are."""
        return {
            "model": to_json(self.model),
            "data": dict(self.data),
            "recipe": dict(self.recipe),
            "variants": [to_json(variant) for variant in self.variants],
        }

    def check(self) -> "Manifest":
        """Self, or the first error among its parts."""
        self.model.check()
        for what in ("data", "recipe"):
            if not isinstance(getattr(self, what), Mapping):
                raise BadValue(f"{what} of a manifest", type(getattr(self, what)).__name__, "an object")
        for what in ("id", "name"):
            seen: set[str] = set()
            for variant in self.variants:
                value: str = getattr(variant, what)
                if value in seen:
                    raise BadValue(f"{what} of a variant", value, f"the only one of that {what}")
                seen.add(value)
        for variant in self.variants:
            variant.check()
        return self


def digest(body: Mapping[str, Any]) -> str:
    """SHA-256 of a body's canonical JSON, 64 hex digits.

    Raises:
        BadValue: If the body holds something that is no JSON, such as NaN.
    """
    try:
        return hashlib.sha256(canonical(body).encode()).hexdigest()
    except (TypeError, ValueError) as error:
        raise BadValue("manifest", str(error), "JSON values only") from error


@dataclass(frozen=True)
class Edition:
    """A manifest with its place in the line of published ones.

    Attributes:
        manifest: What it says.
        generation: The number it was published under; 0 = a draft.
        previous: The generation that it came after; 0 = none.
    """

    manifest: Manifest
    generation: int = 0
    previous: int = 0

    def to_bytes(self) -> bytes:
        """The file.

        Raises:
            BadValue: If a part is out of range or no JSON.
        """
        body = self.manifest.check().body()
        raw: dict[str, Any] = {"format": FORMAT, "sha256": digest(body), "body": body}
        place = {"generation": self.generation, "previous": self.previous}
        raw |= {name: number for name, number in place.items() if number}
        return (json.dumps(raw, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def write(folder: Path, edition: Edition) -> None:
    """Replace the manifest in one step; before it the old one holds, after it this one.

    Raises:
        BadValue: If a part is out of range or no JSON; nothing is written.
        DiskFull: If there is no room; the old manifest stays.
    """
    write_bytes(folder / NAME, edition.to_bytes())


def content(path: Path) -> bytes:
    """The bytes of a manifest's file.

    Raises:
        BadPortfolio: If it is missing, a link, or too long.
    """
    if not is_plain(path):
        raise BadPortfolio(
            f"{path.parent} must hold a plain file {path.name}, got none; build it with edgeshift build"
        )
    if path.stat().st_size > MAX_BYTES:
        raise BadPortfolio(f"{path} must have at most {MAX_BYTES} bytes, got {path.stat().st_size}")
    return path.read_bytes()


def read(folder: Path) -> Edition:
    """The manifest of a folder, checked.

    Raises:
        BadPortfolio: If it is missing, a link, no JSON, of a newer format, changed by hand, or out of range.
    """
    return parse(content(folder / NAME), folder / NAME)


def parse(data: bytes, path: Path) -> Edition:
    """A manifest from the bytes of its file.

    Args:
        data: The whole file.
        path: What to call it in messages.

    Raises:
        BadPortfolio: If it is no JSON, of a newer format, changed by hand, or out of range.
    """
    try:
        raw = json.loads(data)
    except RecursionError as error:
        raise BadPortfolio(f"{path} must be JSON of a few levels, got one nested too deeply") from error
    except ValueError as error:
        raise BadPortfolio(f"{path} must be JSON, got: {error}") from error
    version = raw.get("format") if isinstance(raw, dict) else None
    if type(version) is int and version > FORMAT:
        raise BadPortfolio(
            f"format of {path} must be at most {FORMAT}, got {version}; update edgeshift to read it"
        )
    if type(version) is not int or version != FORMAT or not isinstance(raw.get("body"), dict):
        raise BadPortfolio(f"{path} must be a manifest of format {FORMAT}, got format {version!r}")
    body = raw["body"]
    try:
        if digest(body) != raw.get("sha256"):
            raise BadDigest(
                f"checksum of {path} must be {digest(body)[:16]}..., got {str(raw.get('sha256'))[:16]!r}"
            )
        variants = tuple(variant_from_json(v) for v in body["variants"])
        manifest = Manifest(
            model_ref_from_json(body["model"]), body["data"], body["recipe"], variants
        ).check()
    except BadPortfolio:
        raise
    except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadPortfolio(f"{path} must be a manifest that edgeshift wrote, got: {error}") from error
    return Edition(manifest, number(raw, "generation", path), number(raw, "previous", path))


def number(raw: Mapping[str, Any], name: str, path: Path) -> int:
    """A generation's number; 0 if there is none.

    Raises:
        BadPortfolio: If it is no number that edgeshift gives.
    """
    value = raw.get(name, 0)
    if type(value) is not int or not 0 <= value < MAX_GENERATION:
        raise BadPortfolio(f"{name} of {path} must be 0..{MAX_GENERATION - 1}, got {str(value)[:20]!r}")
    return value
