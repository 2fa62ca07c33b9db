# SPDX-License-Identifier: Apache-2.0
"""The served model in the words of the Open Inference Protocol: a version is a variant."""

import re
from dataclasses import dataclass
from functools import cached_property

from edgeshift.core.errors import BadValue, Refused
from edgeshift.runtime.engine import Engine
from edgeshift.runtime.state import Ladder
from edgeshift.serve.ports import Port

PLATFORM = "onnxruntime_onnx"
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Model:
    """One generation of a portfolio as clients see it.

    Attributes:
        name: In the address.
        ladder: Its variants, the fastest first.
        inputs: What it takes.
        outputs: What it gives.
        generation: Of the store.
    """

    name: str
    ladder: Ladder
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    generation: int

    @staticmethod
    def of(engine: Engine, name: str) -> "Model":
        """What an engine has open.

        Raises:
            BadValue: If the name cannot stand in an address, or a tensor has a type that HTTP has not.
        """
        if not NAME.fullmatch(name):
            raise BadValue("name of the model", name, "1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")
        return Model(
            name,
            engine.ladder,
            tuple(Port.of(spec.name, spec.dtype, spec.shape) for spec in engine.inputs),
            tuple(Port.of(spec.name, spec.dtype, spec.shape) for spec in engine.outputs),
            engine.generation,
        )

    @cached_property
    def versions(self) -> tuple[str, ...]:
        """Names of the variants, the fastest first."""
        return tuple(profile.name for profile in self.ladder.profiles)

    @cached_property
    def _by_word(self) -> dict[str, str]:
        return {word: p.name for p in self.ladder.profiles for word in (p.id, p.name)}

    def version(self, word: str) -> str:
        """The name of the variant with that name or id.

        Raises:
            Refused: If there is none.
        """
        if word not in self._by_word:
            raise Refused("unknown_version")
        return self._by_word[word]

    def at_least(self, accuracy: float, active: str) -> str:
        """The active variant if it is that accurate, else the fastest one that is.

        Raises:
            Refused: If none is.
        """
        enough = [p.name for p in self.ladder.profiles if p.accuracy >= accuracy]
        if not enough:
            raise Refused("unreachable_accuracy")
        return active if active in enough else enough[0]

    def metadata(self) -> dict[str, object]:
        """The protocol's model metadata."""
        return {
            "name": self.name,
            "versions": list(self.versions),
            "platform": PLATFORM,
            "inputs": [{"name": p.name, "datatype": p.datatype, "shape": p.sizes} for p in self.inputs],
            "outputs": [{"name": p.name, "datatype": p.datatype, "shape": p.sizes} for p in self.outputs],
        }


def served_name(model: str) -> str:
    """A name that can stand in an address, from a zoo name or `package.module:factory`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model.rpartition(":")[2])[:64].strip("-.") or "model"
