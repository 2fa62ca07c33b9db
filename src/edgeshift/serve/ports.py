# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of a model in the words of the Open Inference Protocol."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike

from edgeshift.core.errors import BadValue

# https://github.com/kserve/open-inference-protocol: what has a numpy type. BYTES and BF16 have none.
DATATYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
NAMES = {dtype: name for name, dtype in DATATYPES.items()}


@dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
        name: In the ONNX file.
        dtype: numpy type of the values, in the byte order of this machine.
        shape: Sizes; None = any size from 1.
        wire: The same type in little-endian byte order, which the protocol asks for.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...]
    wire: np.dtype[np.generic] = field(init=False)

    def __post_init__(self) -> None:
        if self.dtype not in NAMES:
            raise BadValue(f"type of {self.name}", str(self.dtype), f"one of {', '.join(DATATYPES)}")
        object.__setattr__(self, "wire", self.dtype.newbyteorder("<"))

    @staticmethod
    def of(name: str, dtype: DTypeLike, shape: tuple[int | None, ...]) -> "Port":
        """A port of any spelling of the type, such as "float32"."""
        return Port(name, np.dtype(dtype), shape)

    @property
    def datatype(self) -> str:
        """In the protocol's words, such as "FP32"."""
        return NAMES[self.dtype]

    @property
    def sizes(self) -> list[int]:
        """The shape as the protocol writes it: -1 for any size."""
        return [-1 if size is None else size for size in self.shape]
