# SPDX-License-Identifier: Apache-2.0
"""Three variants whose answers tell them apart, policies of one line, and a backend that misbehaves on demand."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import VariantFailed
from edgeshift.portfolio import Golden, Portfolio
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.backends.shape import Backend, Model
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, State
from tests.portfolio.made import ANSWER, DATA, INPUT, MODEL, RECIPE, WEIGHT, draft, onnx_bytes

# Name -> what its weights, and so its answers, are multiplied by.
SCALE = {"small": 1, "middle": 2, "large": 3}
ACCURACY = {"small": 0.8, "middle": 0.9, "large": 0.95}
LATENCY_MS = {"small": 1.0, "middle": 2.0, "large": 4.0}


def files(name: str) -> dict[str, bytes | Path]:
    """ONNX file and golden pair of a variant."""
    scale = SCALE[name]
    golden = Golden(INPUT, ANSWER * scale).to_bytes()
    return {"onnx": onnx_bytes((WEIGHT * scale).astype(np.float32)), "golden": golden}


def ladder(folder: Path, names: tuple[str, ...] = ("large", "small", "middle")) -> Portfolio:
    """A portfolio, added in no order."""
    made = Portfolio.create(folder, MODEL, DATA, RECIPE)
    for name in names:
        made = made.add(draft(name, ACCURACY[name], LATENCY_MS[name]), files(name))
    return made


def expected(name: str, inputs: NDArray[Any] = INPUT) -> NDArray[Any]:
    """The answer of a variant."""
    found: NDArray[Any] = inputs @ (WEIGHT * SCALE[name])
    return found


@dataclass(frozen=True)
class Stay(Policy):
    """Whatever is active."""

    card: ClassVar[Card] = Card("stay", "Stays.", "house rule")

    def choose(self, state: State, ladder: Ladder) -> Decision:
        return Decision(state.active, "stay")


@dataclass(frozen=True)
class Want(Policy):
    """What a function of the state says: an index, or None to refuse."""

    card: ClassVar[Card] = Card("want", "Does as told.", "house rule")

    say: Callable[[State], int | None] = lambda state: 0
    seen: list[State] = field(default_factory=list)

    def choose(self, state: State, ladder: Ladder) -> Decision:
        self.seen.append(state)
        found = self.say(state)
        return Decision(found or 0, "told", found is not None, (*state.memory, 1.0))


# First number of an input -> what a variant of `Faulty` does instead of answering.
RAISE, HANG, DIE = 1001.0, 1002.0, 1003.0


class FaultyModel(Model):
    """Answers, but not always."""

    def __init__(self, inner: Model, backend: "Faulty") -> None:
        self.inner, self.backend, self.runs = inner, backend, 0
        self.inputs, self.outputs = inner.inputs, inner.outputs
        probe = inner.run({inner.inputs[0].name: INPUT})[inner.outputs[0].name]
        self.scale = round(float(probe[0, 0]))

    def run(
        self, inputs: Mapping[str, NDArray[Any]], limit_s: float = float("inf")
    ) -> dict[str, NDArray[Any]]:
        self.runs += 1
        first = float(next(iter(inputs.values())).flat[0])
        if self.scale >= self.backend.from_scale:
            if first == RAISE or self.runs > self.backend.good_runs:
                raise VariantFailed("model must answer, got told not to")
            if first == HANG:
                time.sleep(1000)
            if first == DIE:
                os.kill(os.getpid(), signal.SIGSEGV)
        return self.inner.run(inputs)


@dataclass(frozen=True)
class Faulty(Backend):
    """ONNX Runtime, except for variants from a scale on.

    Attributes:
        from_scale: Of the first variant that misbehaves.
        good_runs: Runs after which such a variant raises always; opening and self test take three.
    """

    card: ClassVar[Card] = Card("faulty", "Misbehaves.", "house rule")

    from_scale: int = 2
    good_runs: int = 1 << 60

    @property
    def runtime(self) -> str:
        return Onnxruntime().runtime

    @property
    def level(self) -> str:
        return "all"

    def build(self, onnx: bytes, target: Path) -> None:
        Onnxruntime().build(onnx, target)

    def open(self, source: Path | bytes, threads: int) -> Model:
        return FaultyModel(Onnxruntime().open(source, threads), self)

    def reference(self, onnx: bytes) -> Model:
        return Onnxruntime().reference(onnx)


def first(value: float) -> NDArray[np.float32]:
    """An input that starts with a number."""
    return np.array([[value, 0, 0]], np.float32)
