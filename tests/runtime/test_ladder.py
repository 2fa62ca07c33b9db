# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.values import FileRef, Measurement, ModelRef, Proof
from edgeshift.portfolio import Draft, Portfolio
from edgeshift.runtime.ladder import ladder_of, profile_of

FILES = {"onnx": FileRef("blobs/" + "0" * 64, "0" * 64, 7)}


def draft(name: str, accuracy: float, *measurements: Measurement) -> Draft:
    """Everything but the files."""
    proof = Proof(1e-12, 1e-7, 3, ("random",), 1e-9)
    return Draft(name, {}, {"validation": accuracy}, 6, 6, 0.5, {"w": 2}, measurements, proof)


def took(ms: float, **more: object) -> Measurement:
    """A measured latency."""
    return Measurement("latency", ms, "ms", **{"p95": 1.25 * ms, **more})  # type: ignore[arg-type]  # fields by name


def portfolio(folder: Path, *drafts: Draft) -> Portfolio:
    """A portfolio of these variants."""
    made = Portfolio.create(folder / "p", ModelRef("toy", 2, (3,)), {}, {})
    for number, one in enumerate(drafts):
        made = made.add(one, {"weights": str(number).encode()})
    return made


def test_the_fastest_comes_first_and_what_another_beats_is_left_out(tmp_path: Path) -> None:
    drafts = [draft("big", 0.9, took(4)), draft("beaten", 0.7, took(3)), draft("small", 0.8, took(2))]
    ladder = ladder_of(portfolio(tmp_path, *drafts))
    assert [(p.name, p.latency_ms, p.p95_ms) for p in ladder.profiles] == [("small", 2, 2.5), ("big", 4, 5.0)]


def test_some_can_be_chosen(tmp_path: Path) -> None:
    made = portfolio(tmp_path, draft("a", 0.9, took(4)), draft("b", 0.8, took(2)))
    assert [p.name for p in ladder_of(made, only=("a",)).profiles] == ["a"]
    with pytest.raises(UnknownName, match="no variant named 'c'"):
        ladder_of(made, only=("c",))


def test_the_latency_is_that_at_batch_1_and_these_threads() -> None:
    one = draft("v", 0.9, took(9, batch_size=32), took(2), took(1, threads=2)).with_files(FILES)
    assert profile_of(one).latency_ms == 2
    assert profile_of(one, threads=2).latency_ms == 1
    assert profile_of(one).size_bytes == 7


@pytest.mark.parametrize("kind", ["predicted", "modelled"])
def test_a_latency_that_nobody_measured_is_refused(kind: str) -> None:
    one = draft("v", 0.9, took(2, kind=kind)).with_files(FILES)
    with pytest.raises(
        BadValue, match=f"latency of v must be measured at batch size 1 on 1 thread; .*{kind}"
    ):
        profile_of(one)


def test_a_p95_below_the_median_or_none_is_the_median() -> None:
    assert profile_of(draft("v", 0.9, took(2, p95=None)).with_files(FILES)).p95_ms == 2
    assert profile_of(draft("v", 0.9, took(2, p95=1.5)).with_files(FILES)).p95_ms == 2


def test_a_variant_without_accuracy_on_validation_is_refused() -> None:
    one = Draft("v", {}, {"test": 0.9}, 6, 6, 0.5, {}, (took(2),), Proof(0, 0, 1, ("random",), 1e-9))
    with pytest.raises(BadValue, match="accuracy of v must be known on validation, got"):
        profile_of(one.with_files(FILES))
