# SPDX-License-Identifier: Apache-2.0
"""`portfolio.json`: what the variants are, with a format version and a checksum of itself."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.core.files import read_json, write_json
from edgeshift.core.recipe import canonical
from edgeshift.core.values import ModelRef, Variant, model_ref_from_json, to_json, variant_from_json
from edgeshift.portfolio.store import is_plain

NAME = "portfolio.json"
FORMAT = 1
# A manifest of 10,000 variants has about 40 MiB; more is an attack or a mistake.
MAX_BYTES = 256 << 20


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


def write(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest in one step; before it the old one holds, after it this one.

    Raises:
        BadValue: If a part is out of range or no JSON; nothing is written.
        DiskFull: If there is no room; the old manifest stays.
    """
    body = manifest.check().body()
    write_json(folder / NAME, {"format": FORMAT, "sha256": digest(body), "body": body})


def read(folder: Path) -> Manifest:
    """The manifest of a folder, checked.

    Raises:
        BadPortfolio: If it is missing, a link, no JSON, of a newer format, changed by hand, or out of range.
    """
    path = folder / NAME
    if not is_plain(path):
        raise BadPortfolio(f"{folder} must hold a plain file {NAME}, got none; build it with edgeshift build")
    if path.stat().st_size > MAX_BYTES:
        raise BadPortfolio(f"{path} must have at most {MAX_BYTES} bytes, got {path.stat().st_size}")
    try:
        raw = read_json(path)
    except RecursionError as error:
        raise BadPortfolio(f"{path} must be JSON of a few levels, got one nested too deeply") from error
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
            raise BadPortfolio(
                f"checksum of {path} must be {digest(body)[:16]}..., got {str(raw.get('sha256'))[:16]!r}"
            )
        variants = tuple(variant_from_json(v) for v in body["variants"])
        return Manifest(model_ref_from_json(body["model"]), body["data"], body["recipe"], variants).check()
    except (BadValue, ArithmeticError, KeyError, TypeError, AttributeError) as error:
        raise BadPortfolio(f"{path} must be a manifest that edgeshift wrote, got: {error}") from error
