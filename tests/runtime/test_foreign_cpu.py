# SPDX-License-Identifier: Apache-2.0
"""A cache built on a CPU with AVX-512 is refused on one without it, emulated by qemu-x86_64 (package qemu-user)."""

import shutil
from pathlib import Path

import pytest

from bench.runtime.foreign_cpu import row_of, there
from bench.runtime.made import portfolio
from edgeshift.runtime import Engine
from edgeshift.runtime.cache import cpu_features

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="needs qemu-x86_64"),
    pytest.mark.skipif("avx512f" not in cpu_features(), reason="needs a CPU with AVX-512 to build on"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-20 portfolio with the cache of this CPU."""
    path = portfolio(tmp_path_factory.mktemp("foreign") / "p", quick=True).path
    with Engine(path):
        return path


@pytest.mark.parametrize(
    ("mode", "right", "refused"), [("as it is", 0, 0), ("onnx", 4, 0), ("test", 4, 4), ("key", 4, 0)]
)
def test_only_the_key_and_the_self_test_stand_between_a_foreign_cache_and_wrong_answers(
    built: Path, tmp_path: Path, mode: str, right: int, refused: int
) -> None:
    shutil.copytree(built, tmp_path / "p")
    features = cpu_features()
    row = row_of("resnet20", mode, there("Haswell", tmp_path / "p", mode, features), features)
    assert (row["variants"], row["right"], row["refused"]) == (4, right, refused)
    assert row["other_features"]
