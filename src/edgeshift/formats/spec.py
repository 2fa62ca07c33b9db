# SPDX-License-Identifier: Apache-2.0
"""What goes into a model and comes out of it: names, types and shapes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: In the file.
        dtype: numpy type of the values.
        shape: Sizes, the batch first; None = any size from 1.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an array of that shape may stand here; every size is at least 1."""
        return len(shape) == len(self.shape) and all(
            got >= 1 and want in (None, got) for want, got in zip(self.shape, shape, strict=True)
        )

    def check(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array, if it is one of this kind.

        Raises:
            BadValue: If it is no array, or of another type or shape.
        """
        if not isinstance(array, np.ndarray):
            raise BadValue(f"input {self.name}", type(array).__name__, "a numpy array")
        if array.dtype != self.dtype:
            raise BadValue(f"dtype of {self.name}", str(array.dtype), str(self.dtype))
        if not self.fits(array.shape):
            raise BadValue(f"shape of {self.name}", array.shape, self.says)
        return array

    @property
    def says(self) -> str:
        """The shape for a person: `(any, 3, 32, 32)`."""
        return f"({', '.join('any' if size is None else str(size) for size in self.shape)})"
