# SPDX-License-Identifier: Apache-2.0
"""What a portfolio promises, checked again from its files alone: no torch, no training code.

Per file: path, no link, size, checksum. Per variant: weights have the shapes of the plan, the ONNX file
opens, answers with finite numbers, and gives the stored answer to the stored input.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeshift.core.errors import BadPortfolio, BadValue, BadWeights, UnknownName
from edgeshift.core.shape_plan import ShapePlan
from edgeshift.core.values import Variant
from edgeshift.formats import open_onnx, read_shapes
from edgeshift.formats.nested import open_nested
from edgeshift.formats.nested_onnx import whole_onnx
from edgeshift.portfolio import store
from edgeshift.portfolio.golden import Golden


@dataclass(frozen=True)
class Verification:
    """What was checked and held.

    Attributes:
        variants: How many were looked at.
        files: Distinct files whose checksum was compared.
        size_bytes: Of those files together.
        opened: ONNX files that opened and answered with finite numbers.
        answers: Stored answers that came out again.
        max_error: Largest |difference| over largest |output| among them.
        unchecked: What could not be checked, one line each.
    """

    variants: int
    files: int
    size_bytes: int
    opened: int
    answers: int
    max_error: float
    unchecked: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For a person."""
        return [
            f"{self.variants} variants, {self.files} files, {self.size_bytes} bytes: checksums hold",
            f"{self.opened} ONNX files open and answer with finite numbers",
            f"{self.answers} stored answers come out again, largest relative error {self.max_error:.1e}",
            *(f"not checked: {line}" for line in self.unchecked),
        ]


@dataclass
class Findings:
    """What adds up while files are checked."""

    problems: list[str]
    unchecked: list[str]
    seen: dict[str, int]
    opened: int = 0
    answers: int = 0
    max_error: float = 0.0

    def tried(self, name: str, act: Callable[..., object], *given: object) -> None:
        """Do one check; what it raises becomes a finding about the variant."""
        try:
            act(*given)
        except (BadPortfolio, BadValue, BadWeights) as error:
            self.problems.append(f"variant {name}: {error}")


def plan_of(folder: Path, variant: Variant) -> tuple[dict[str, tuple[int, ...]], ShapePlan | None]:
    """Shapes of the weights, and the plan from its own file or from the weights' facts."""
    weights = variant.files["weights"]
    shapes, facts = read_shapes(store.locate(folder, weights))
    if "plan" in variant.files:
        try:
            raw = json.loads(store.fetch(folder, variant.files["plan"]))
        except ValueError as error:
            raise BadPortfolio(f"shape plan must be JSON, got: {error}") from error
        return shapes, ShapePlan.from_json(raw if isinstance(raw, dict) else {})
    return shapes, ShapePlan.from_json(facts["plan"]) if "plan" in facts else None


def check_weights(folder: Path, variant: Variant, found: Findings) -> None:
    """Whether the weights have the shapes that the plan names."""
    shapes, plan = plan_of(folder, variant)
    if plan is None:
        found.unchecked.append(f"shapes of {variant.name}: it has no shape plan")
        return
    for name, shape in plan.shapes.items():
        if shapes.get(name) != tuple(shape):
            got = shapes.get(name, "none")
            raise BadPortfolio(
                f"tensor {name} must have shape {tuple(shape)} as in the shape plan, got {got}"
            )


def onnx_of(folder: Path, variant: Variant) -> bytes:
    """The variant's ONNX file, or the one that its nested file makes.

    Raises:
        UnknownName: If the variant has neither.
        BadPortfolio: If a file is missing, a link, or was changed.
    """
    if "onnx" in variant.files:
        return store.fetch(folder, variant.files["onnx"])
    if "nested" not in variant.files:
        raise UnknownName("file", "onnx", variant.files)
    nested = open_nested(store.check(folder, variant.files["nested"]))
    return whole_onnx(nested, nested.index(variant.name))


def check_answers(folder: Path, variant: Variant, found: Findings) -> None:
    """Whether the ONNX file opens, answers, and answers right."""
    session = open_onnx(onnx_of(folder, variant))
    golden = (
        Golden.from_bytes(store.fetch(folder, variant.files["golden"])) if "golden" in variant.files else None
    )
    if golden is not None:
        error = golden.error(session)
        if not error <= golden.tolerance:
            raise BadPortfolio(
                f"relative error on the golden pair must be at most {golden.tolerance}, got {error:.3g}"
            )
        found.max_error = max(found.max_error, error)
        found.opened += 1
        found.answers += 1
        return
    found.unchecked.append(f"answers of {variant.name}: it has no golden pair")
    if not all(isinstance(size, int) for size in session.input_shape):
        found.unchecked.append(f"run of {variant.name}: its input shape {session.input_shape} is open")
        return
    answer = session.run(np.zeros((2, *session.input_shape), np.float32))
    if len(answer) != 2 or not np.isfinite(answer).all():
        raise BadPortfolio(
            f"answer of the ONNX file must be finite for 2 inputs, got shape {answer.shape} or NaN"
        )
    found.opened += 1


def inspect(folder: Path, variants: Sequence[Variant]) -> Findings:
    """Every finding, good and bad."""
    found = Findings([], [], {})
    for variant in variants:
        before = len(found.problems)
        for role, file in variant.files.items():
            if file.sha256 in found.seen:
                continue
            found.seen[file.sha256] = file.size_bytes
            found.tried(f"{variant.name}, {role}", store.check, folder, file)
        if len(found.problems) > before:
            continue
        if "weights" in variant.files:
            found.tried(variant.name, check_weights, folder, variant, found)
        if "onnx" in variant.files or "nested" in variant.files:
            found.tried(variant.name, check_answers, folder, variant, found)
        else:
            found.unchecked.append(f"answers of {variant.name}: it has no ONNX file")
    return found


def verify(folder: Path, variants: Sequence[Variant]) -> Verification:
    """What holds; see the module.

    Raises:
        BadPortfolio: With the first finding and the number of the others.
    """
    found = inspect(folder, variants)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        raise BadPortfolio(found.problems[0] + more)
    return Verification(
        variants=len(variants),
        files=len(found.seen),
        size_bytes=sum(found.seen.values()),
        opened=found.opened,
        answers=found.answers,
        max_error=found.max_error,
        unchecked=tuple(found.unchecked),
    )
