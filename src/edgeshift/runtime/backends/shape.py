# SPDX-License-Identifier: Apache-2.0
"""The contract of a backend: it builds a file for this device once, and opens it many times."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.formats import TensorSpec

NOUN = "backend"


class Model(ABC):
    """A model in memory, ready to answer from any number of threads.

    Attributes:
        inputs: What `run` takes.
        outputs: What `run` gives.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @abstractmethod
    def run(self, inputs: Mapping[str, NDArray[Any]], limit_s: float = math.inf) -> dict[str, NDArray[Any]]:
        """Output name -> array.

        Args:
            inputs: Every input by name, already checked against `inputs`.
            limit_s: After this long a model in a process of its own is given up; one in this process cannot be.

        Raises:
            VariantFailed: If the model cannot answer.
        """

    def close(self) -> None:  # noqa: B027  # most models live in this process and go with their last user
        """Free what the model holds outside this process, if anything."""


class Backend(ABC):
    """A runtime. What it builds is good for one version of it on one kind of CPU only."""

    card: ClassVar[Card]

    @property
    @abstractmethod
    def runtime(self) -> str:
        """Name and version, such as "onnxruntime 1.31.1"."""

    @property
    @abstractmethod
    def level(self) -> str:
        """What it does to the graph, as part of the name of what it builds."""

    @abstractmethod
    def build(self, onnx: bytes, target: Path) -> None:
        """Write the file that `open` opens, made for the CPU this runs on.

        Args:
            onnx: A whole ONNX file, verified.
            target: Where; the caller makes it durable and gives it its name.

        Raises:
            BadPortfolio: If the runtime refuses the model.
            DiskFull: If there is no room.
        """

    @abstractmethod
    def open(self, source: Path | bytes, threads: int) -> Model:
        """A model from a file that `build` wrote, or from a whole ONNX file as bytes.

        Args:
            source: A verified file in a private folder, mapped where the runtime can; or ONNX bytes.
            threads: Intra-op threads, 1 or more.

        Raises:
            BadPortfolio: If the runtime refuses it.
            MemoryError: If there is not enough memory.
        """

    @abstractmethod
    def reference(self, onnx: bytes) -> Model:
        """The model as its file says it, without any optimisation: slow, and right on every CPU.

        Raises:
            BadPortfolio: If the runtime refuses it.
        """
