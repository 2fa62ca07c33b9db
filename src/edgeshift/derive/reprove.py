# SPDX-License-Identifier: Apache-2.0
"""A portfolio's promises checked again, exactness included: the masked parent against the shrunk variant."""

from dataclasses import dataclass

import torch

from edgeshift.core.errors import BadPortfolio, BadValue, BadWeights, NotExact, UnknownName
from edgeshift.core.progress import Progress, Silent
from edgeshift.core.values import Proof, Variant
from edgeshift.derive.parent import Parent
from edgeshift.formats import load, read_sparse
from edgeshift.models import build as build_model
from edgeshift.portfolio import Portfolio, Verification


@dataclass(frozen=True)
class Checked:
    """What holds of a portfolio.

    Attributes:
        files: Checksums, shapes and answers.
        proved: Variants that computed what their masked parent computes.
        max_error_float64: Largest |difference| over largest |output| among them, in float64.
        unproved: Why the others were not tried, one line each.
        missing: Levels that were asked for and are not built yet.
        bare: Variants without the masked weights that they were shrunk from, as nested ones are.
    """

    files: Verification
    proved: int
    max_error_float64: float
    unproved: tuple[str, ...] = ()
    missing: int = 0
    bare: int = 0

    def lines(self) -> list[str]:
        """For a person."""
        return [
            *self.files.lines(),
            *(
                [
                    f"{self.proved} variants compute what their masked parent does, "
                    f"largest relative error {self.max_error_float64:.1e} in float64"
                ]
                if self.proved or not self.bare
                else []
            ),
            *(
                [
                    f"{self.bare} variants hold no masked weights, so exactness stands as it was proved at the build"
                ]
                if self.bare
                else []
            ),
            *(f"not proved again: {line}" for line in self.unproved),
            *([f"{self.missing} more levels were asked for; go on with --resume"] if self.missing else []),
        ]


def verify(portfolio: Portfolio, progress: Progress | None = None) -> Checked:
    """What holds of a portfolio: its files, and each variant's exactness: its masked parent is shrunk and proved again.

    Raises:
        BadPortfolio: With the first finding.
    """
    files = portfolio.verify()
    errors: list[float] = []
    unproved: list[str] = []
    bare = sum("masked" not in variant.files for variant in portfolio)
    parent: Parent | None = None
    with (progress or Silent()).task("Proving exactness", len(portfolio)) as step:
        for variant in portfolio:
            step(note=variant.name)
            if "masked" not in variant.files:
                continue
            try:
                if parent is None:
                    multiple = int(portfolio.recipe.get("shrink.multiple", 1))
                    parent = Parent.of(build_model(portfolio.model), portfolio.model, multiple)
                errors.append(error_of(portfolio, variant, parent))
            except (UnknownName, BadValue, BadWeights) as error:  # the user's factory is not here, or changed
                unproved.append(f"{variant.name}: {error}")
    missing = len(portfolio.recipe.get("levels", ())) - len(portfolio)
    return Checked(files, len(errors), max(errors, default=0.0), tuple(unproved), max(0, missing), bare)


def error_of(portfolio: Portfolio, variant: Variant, parent: Parent) -> float:
    """Shrink a variant's masked parent again, prove it again, and see that the stored variant is what comes out.

    Returns:
        Largest |difference| over largest |output| in float64, on the inputs of the proof.

    Raises:
        BadPortfolio: If it is not exact, or the stored variant is another one.
        BadWeights: If the masked weights do not fit the model, since the user's factory changed.
    """
    tensors, _ = read_sparse(portfolio.read(variant, "masked"))
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    try:
        again = parent.shrunk(state)
    except NotExact as error:
        raise BadPortfolio(
            f"variant {variant.name} must compute what its parent does, got: {error}"
        ) from error
    except RuntimeError as error:  # what load_state_dict raises
        raise BadWeights(f"weights of {variant.name} must fit the model, got: {first_line(error)}") from error
    child = load(portfolio.path_of(variant, "weights"), lambda: build_model(portfolio.model))
    stored, fresh = child.state_dict(), again.model.state_dict()
    for name in sorted({*stored, *fresh}):
        if name not in stored or name not in fresh or not torch.equal(stored[name], fresh[name]):
            raise BadPortfolio(
                f"variant {variant.name} must be what its parent shrinks to, got another {name}"
            )
    proof: Proof | None = again.proof
    assert proof is not None  # asked for by default
    return proof.max_error_float64


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())[:200]
