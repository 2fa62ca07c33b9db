# SPDX-License-Identifier: Apache-2.0
"""A portfolio's promises checked again, exactness included: the masked parent against the shrunk variant."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadPortfolio, BadValue, BadWeights, UnknownName
from edgeshift.core.progress import Progress, Silent
from edgeshift.core.values import Variant
from edgeshift.formats import load, read_sparse
from edgeshift.models import build as build_model
from edgeshift.models import example
from edgeshift.portfolio import Portfolio, Verification

# Seeds of the inputs tried; the build's own proof drew others.
INPUTS = (101, 102, 103, 104)


@dataclass(frozen=True)
class Checked:
    """What holds of a portfolio.

    Attributes:
        files: Checksums, shapes and answers.
        proved: Variants that computed what their masked parent computes.
        max_error_float64: Largest |difference| over largest |output| among them, in float64.
        unproved: Why the others were not tried, one line each.
        missing: Levels that were asked for and are not built yet.
    """

    files: Verification
    proved: int
    max_error_float64: float
    unproved: tuple[str, ...] = ()
    missing: int = 0

    def lines(self) -> list[str]:
        """For a person."""
        return [
            *self.files.lines(),
            f"{self.proved} variants compute what their masked parent does, "
            f"largest relative error {self.max_error_float64:.1e} in float64",
            *(f"not proved again: {line}" for line in self.unproved),
            *([f"{self.missing} more levels were asked for; go on with --resume"] if self.missing else []),
        ]


def verify(portfolio: Portfolio, progress: Progress | None = None) -> Checked:
    """What holds of a portfolio: its files, and each variant's exactness on inputs the build did not try.

    Raises:
        BadPortfolio: With the first finding.
    """
    files = portfolio.verify()
    errors: list[float] = []
    unproved: list[str] = []
    with (progress or Silent()).task("Proving exactness", len(portfolio)) as step:
        for variant in portfolio:
            try:
                errors.append(error_of(portfolio, variant))
            except (UnknownName, BadValue, BadWeights) as error:  # the user's factory is not here, or changed
                unproved.append(f"{variant.name}: {error}")
            step(note=variant.name)
    missing = len(portfolio.recipe.get("levels", ())) - len(portfolio)
    return Checked(files, len(errors), max(errors, default=0.0), tuple(unproved), max(0, missing))


def error_of(portfolio: Portfolio, variant: Variant) -> float:
    """Largest |difference| between a variant and its masked parent over largest |output|, in float64.

    Raises:
        BadPortfolio: If it is above the variant's tolerance.
        UnknownName: If the model cannot be built here, or the variant keeps no parent.
        BadValue: If the user's factory fails.
    """
    parent = build_model(portfolio.model)
    tensors, _ = read_sparse(portfolio.read(variant, "masked"))
    parent.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    child = load(portfolio.path_of(variant, "weights"), lambda: build_model(portfolio.model))
    error = relative_error(parent, child, [example(portfolio.model, seed=seed) for seed in INPUTS])
    if not error <= variant.proof.tolerance:
        raise BadPortfolio(
            f"variant {variant.name} must compute what its parent does, got it {error:.3g} off"
        )
    return error


def relative_error(one: nn.Module, other: nn.Module, inputs: list[Tensor]) -> float:
    """Largest |difference| of outputs over largest |output|, in float64; infinite if not finite."""
    one, other = one.double().eval(), other.double().eval()
    largest = difference = 0.0
    with torch.inference_mode():
        for batch in inputs:
            answers = one(batch.double()), other(batch.double())
            if answers[0].shape != answers[1].shape or not all(bool(a.isfinite().all()) for a in answers):
                return float("inf")
            largest = max(largest, float(answers[0].abs().max()))
            difference = max(difference, float((answers[0] - answers[1]).abs().max()))
    return difference / (largest or 1.0)
