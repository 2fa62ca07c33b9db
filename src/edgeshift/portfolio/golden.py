# SPDX-License-Identifier: Apache-2.0
"""One input and its right answer, stored with a variant: a runtime that computes otherwise is found out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadPortfolio, BadValue, BadWeights, NotFinite
from edgeshift.formats import Session, read_tensors, tensor_bytes

# float32 runtimes differ by up to 7e-7 of the largest output (8 runtimes on 4 networks); a wrong one, such as
# a file optimised for another CPU, by 1e-1. Between the two, nearer the first.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Golden:
    """An input and its output.

    Attributes:
        inputs: `(batch, *shape)`, float32.
        outputs: `(batch, *shape)`, float64, from a run in float64 of the model before shrinking.
        tolerance: Largest |difference| over largest |output| that a runtime may show, above 0.
    """

    inputs: NDArray[np.float32]
    outputs: NDArray[np.float64]
    tolerance: float = TOLERANCE

    def check(self) -> "Golden":
        """Self, or BadValue / NotFinite."""
        if self.inputs.dtype != np.float32 or self.outputs.dtype != np.float64:
            raise BadValue(
                "dtypes of a golden pair",
                (str(self.inputs.dtype), str(self.outputs.dtype)),
                "float32, float64",
            )
        if not 0 < len(self.inputs) == len(self.outputs):
            raise BadValue(
                "length of a golden pair", (len(self.inputs), len(self.outputs)), "equal and above 0"
            )
        if not 0 < self.tolerance < 1:
            raise BadValue("tolerance", self.tolerance, "above 0 and below 1")
        if not (np.isfinite(self.inputs).all() and np.isfinite(self.outputs).all()):
            raise NotFinite("golden pair must be finite, got NaN or infinity")
        return self

    def to_bytes(self) -> bytes:
        """The content of the file for the role "golden"."""
        pair: dict[str, NDArray[Any]] = {"input": self.check().inputs, "output": self.outputs}
        return tensor_bytes(pair, {"format": 1, "tolerance": self.tolerance})

    @staticmethod
    def from_bytes(source: bytes | Path) -> "Golden":
        """What `to_bytes` wrote.

        Raises:
            BadPortfolio: If it is something else.
        """
        try:
            tensors, facts = read_tensors(source)
            return Golden(tensors["input"], tensors["output"], float(facts["tolerance"])).check()
        except (BadWeights, BadValue, NotFinite, KeyError, TypeError, ValueError) as error:
            raise BadPortfolio(f"golden pair must be an input and an output, got: {error}") from error

    def error(self, session: Session) -> float:
        """Largest |difference| over largest |output|; infinite if shapes differ or an answer is not finite.

        Raises:
            BadValue: If the input has another shape than the model's.
        """
        answer = session.run(self.inputs).astype(np.float64)
        if answer.shape != self.outputs.shape or not np.isfinite(answer).all():
            return float("inf")
        scale = float(np.abs(self.outputs).max(initial=0.0))
        return float(np.abs(answer - self.outputs).max(initial=0.0)) / (scale or 1.0)
