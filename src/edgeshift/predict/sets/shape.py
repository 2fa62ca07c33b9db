# SPDX-License-Identifier: Apache-2.0
"""The contract of a set of measurements."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadData, NotInstalled
from edgeshift.predict.samples import Samples
from edgeshift.predict.scores import Ceiling

NOUN = "latency set"
VARIABLE = "EDGESHIFT_DATA"


@dataclass(frozen=True)
class Fleet:
    """Networks measured on many devices, with what a fair test must know.

    Attributes:
        samples: Costs, features and families; networks that compute nothing are gone.
        ceilings: Device -> what repeated runs allow; devices without repeats are absent.
        composed: Devices whose values are sums of look-ups or simulated, not runs: out of every mean.
        groups: Device -> kind, such as "gpu and xeon", "compiled", "phone".
        rows: `(n,)` places of the networks in the source's own order.
        pairs: Places of two rows each that are one network, measured twice.
    """

    samples: Samples
    ceilings: Mapping[str, Ceiling] = field(default_factory=dict)
    composed: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()

    def measured(self) -> tuple[str, ...]:
        """Devices that were truly measured."""
        return tuple(d for d in self.samples.devices if d not in self.composed)


class LatencySet(ABC):
    """A published set of measurements; options are fields, one of them `path`."""

    card: ClassVar[Card]

    @abstractmethod
    def open(self) -> Fleet:
        """Read it.

        Raises:
            BadData: If the folder or a file is not there.
            NotInstalled: If its format needs a package that is missing.
        """


def file_of(path: str, *parts: str) -> Path:
    """A file of a set: inside the folder the user named, or below EDGESHIFT_DATA/latency.

    Raises:
        BadData: If it is not there.
    """
    root = Path(path) if path else Path(os.environ.get(VARIABLE, "")) / "latency" / parts[0]
    found = root / parts[-1]
    if not (path or os.environ.get(VARIABLE)) or not found.is_file():
        raise BadData(
            f"{VARIABLE} must name the folder that holds latency/{'/'.join(parts)}, got no such file"
        )
    return found


def read_columns(file: Path, columns: list[str]) -> dict[str, list[Any]]:
    """Columns of a parquet file as lists.

    Raises:
        NotInstalled: If pyarrow is missing.
    """
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        raise NotInstalled("pyarrow", "bench") from error
    found: dict[str, list[Any]] = parquet.read_table(file, columns=columns).to_pydict()
    return found
