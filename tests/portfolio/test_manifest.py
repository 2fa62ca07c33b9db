# SPDX-License-Identifier: Apache-2.0
"""A manifest with a right checksum over a wrong body is refused, whatever the body holds."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgeshift.core.errors import BadPortfolio
from edgeshift.core.values import FileRef
from edgeshift.portfolio.manifest import FORMAT, Manifest, digest, parse
from tests.portfolio.made import DATA, MODEL, RECIPE, draft

FILES = {"onnx": FileRef("blobs/" + "0" * 64, "0" * 64, 1)}
WHOLE = Manifest(MODEL, DATA, RECIPE, (draft().with_files(FILES),)).body()


def signed(body: Any) -> bytes:
    return json.dumps({"format": FORMAT, "sha256": digest(body), "body": body}).encode()


def test_the_body_is_read_back() -> None:
    assert parse(signed(WHOLE), Path("p")).manifest.body() == WHOLE


@pytest.mark.parametrize("wrong", ["x", 3, None, [], ["x"], [["a", "b", "c"]], [{}], [[]], {"x": 1}])
@pytest.mark.parametrize("part", ["model", "variants"])
def test_a_part_of_another_kind_is_refused(part: str, wrong: Any) -> None:
    if part == "variants" and wrong == []:
        wrong = [None]
    with pytest.raises(BadPortfolio, match="p must be a manifest that edgeshift wrote, got"):
        parse(signed({**WHOLE, part: wrong}), Path("p"))


@pytest.mark.parametrize("part", ["data", "recipe"])
@pytest.mark.parametrize("wrong", ["x", 3, None, ["x"]])
def test_facts_that_are_no_object_are_refused(part: str, wrong: Any) -> None:
    with pytest.raises(BadPortfolio):
        parse(signed({**WHOLE, part: wrong}), Path("p")).to_bytes()


def test_a_wrong_checksum_says_so() -> None:
    with pytest.raises(BadPortfolio, match=r"checksum of p must be [0-9a-f]{16}\.\.\., got 'x'"):
        parse(json.dumps({"format": FORMAT, "sha256": "x", "body": WHOLE}).encode(), Path("p"))


def test_json_that_is_nested_deeply_is_refused() -> None:
    with pytest.raises(BadPortfolio):
        parse(b'{"format": 1, "body": ' + b"[" * 100_000, Path("p"))
