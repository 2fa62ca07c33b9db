# SPDX-License-Identifier: Apache-2.0
"""What each limit asks of the candidates: measured where it was measured, predicted elsewhere, never guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeshift.core.errors import BadValue
from edgeshift.core.values import Variant
from edgeshift.plan.limits import QUANTITIES, Limit
from edgeshift.plan.margin import MULTIPLE, guarded, holds
from edgeshift.plan.problem import Cost, Function, Parts, Problem
from edgeshift.plan.spaces.shape import Floats, Space
from edgeshift.predict.samples import Prediction

# Quantity of a limit -> quantity of a measurement.
MEASURED_AS = {
    "latency": "latency",
    "p95": "latency",
    "memory": "peak_memory",
    "size": "file_size",
    "energy": "energy",
}


@dataclass(frozen=True)
class Candidates:
    """Designs that are listed, with what is known of them on one device.

    Attributes:
        names: What each is called.
        gains: `(n,)` accuracy, 0..1.
        figures: Limit -> its figures for the n candidates; accuracy floors are among them.
    """

    names: tuple[str, ...]
    gains: Floats
    figures: Mapping[Limit, Prediction]

    def check(self) -> "Candidates":
        """Self, or BadValue."""
        n = len(self.names)
        if n == 0 or self.gains.shape != (n,) or any(len(p.value) != n for p in self.figures.values()):
            raise BadValue("candidates", n, "at least one, with a figure for each limit")
        return self

    def sure(self) -> Floats:
        """`(n,)` probability that all limits hold, if errors are independent; floors of accuracy hold or do not."""
        chance = np.ones(len(self.names))
        for limit, figure in self.figures.items():
            chance = chance * chances(limit, figure)
        return chance

    def problem(self, space: Space, multiple: float = MULTIPLE) -> Problem:
        """Gain the most accuracy inside the limits, with the margin on what is predicted.

        Args:
            space: Of one choice among the n candidates.
            multiple: Deviations of the log error that a predicted figure stays below its limit.
        """
        values = {limit: _bounded(limit, figure, multiple) for limit, figure in self.figures.items()}
        costs = tuple(Cost(limit.text, _column(v), bound) for limit, (v, bound) in values.items())
        columns = tuple((v,) for v, _ in values.values())
        parts = Parts((self.gains,), columns, (0.0,) * (1 + len(costs)))
        return Problem(space, _column(self.gains), costs, parts)


def chances(limit: Limit, figure: Prediction) -> Floats:
    """`(n,)` probability that a limit holds."""
    return 1 - holds(figure, np.nextafter(limit.value, 0)) if limit.floor else holds(figure, limit.value)


def _bounded(limit: Limit, figure: Prediction, multiple: float) -> tuple[Floats, float]:
    """Costs and their ceiling; of a floor both are turned round."""
    if limit.floor:
        return -figure.value, -limit.value
    return guarded(figure, multiple), limit.value


def _column(values: Floats) -> Function:
    return lambda designs: values[designs[:, 0]]


def known(values: Sequence[float], unit: str) -> Prediction:
    """Measured figures in the form of predictions: intervals of no width."""
    array = np.array(values, float)
    return Prediction(array, array, array, unit=unit, kind="measured", source="measured")


def of_portfolio(variants: Sequence[Variant], limits: Sequence[Limit]) -> Candidates:
    """The variants with what was measured of them on the machine their portfolio was measured on.

    A clock below the highest divides: a latency at clock f counts as latency / f, which is what a variant that only
    computes takes; one that waits for memory takes less. It is a bound, and is called predicted.

    Raises:
        BadValue: If a variant lacks a figure; the message says how to measure it.
    """
    if not variants:
        raise BadValue("variants", 0, "at least one")
    gains = np.array([_accuracy(v) for v in variants])
    return Candidates(
        tuple(v.name for v in variants), gains, {limit: _figure(variants, limit) for limit in limits}
    ).check()


def _accuracy(variant: Variant) -> float:
    if "validation" not in variant.accuracy:
        raise BadValue(f"accuracy of {variant.name}", dict(variant.accuracy), "known on validation")
    return variant.accuracy["validation"]


def _figure(variants: Sequence[Variant], limit: Limit) -> Prediction:
    unit = QUANTITIES[limit.quantity].unit
    if limit.quantity == "accuracy":
        return known([max(_accuracy(v), 1e-9) for v in variants], unit)
    values = [_value(v, limit) for v in variants]
    if limit.point.clock == 1 or limit.quantity not in ("latency", "p95"):
        return known(values, unit)
    slower = np.array(values) / limit.point.clock
    return Prediction(
        slower, slower, slower, unit=unit, kind="predicted", source="latency over clock, a bound"
    )


def _value(variant: Variant, limit: Limit) -> float:
    if limit.quantity == "size" and "onnx" in variant.files:
        return float(variant.files["onnx"].size_bytes)
    point, quantity = limit.point, MEASURED_AS[limit.quantity]
    for m in variant.measurements:
        same = (m.quantity, m.kind) == (quantity, "measured")
        if quantity != "latency":
            same = same and m.threads == point.threads
        elif same:
            same = (m.batch_size, m.threads) == (point.batch, point.threads)
        if same and (not point.runtime or m.runtime.split(" ")[0] == point.runtime):
            if limit.quantity == "p95":
                if m.p95 is not None:
                    return m.p95
                continue
            return m.value
    there = {f"{m.quantity} at batch {m.batch_size}, {m.threads} threads" for m in variant.measurements}
    raise BadValue(
        f"{limit.text} of {variant.name}",
        "; ".join(sorted(there)) or None,
        "measured there; run edgeshift bench at that point",
    )
