# SPDX-License-Identifier: Apache-2.0
"""One device and its limits: the variant to run, as a plan with its reasons."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeshift.core.errors import BadValue
from edgeshift.core.plan_file import Pick, Plan
from edgeshift.plan import SOLVERS
from edgeshift.plan.explain import Explanation, explain, nearest
from edgeshift.plan.figures import Candidates, chances, of_portfolio
from edgeshift.plan.limits import Limit
from edgeshift.plan.margin import MULTIPLE, verify
from edgeshift.plan.spaces.shape import Floats
from edgeshift.plan.spaces.table import Table
from edgeshift.portfolio import Portfolio
from edgeshift.portfolio.manifest import digest
from edgeshift.predict import MODELS
from edgeshift.predict.intervals import Prior, interval
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.variants import ask


@dataclass(frozen=True)
class Choice:
    """One candidate, chosen for one device.

    Attributes:
        place: Of the candidate.
        broken: Limits it is over, as text.
        explanation: Why.
        says: Lines for the user: the explanation, and what cannot be kept.
    """

    place: int
    broken: tuple[str, ...]
    explanation: Explanation
    says: tuple[str, ...]


def choose(candidates: Candidates, solver: str = "scan", seed: int = 0, multiple: float = MULTIPLE) -> Choice:
    """The most accurate candidate inside the limits, with a margin on what is predicted; or the nearest.

    Args:
        candidates: With their figures for each limit.
        solver: Name of a solver.
        seed: Of the solver's draws.
        multiple: Deviations of margin; see `edgeshift.plan.margin`.

    Raises:
        UnknownName: If there is no such solver.
    """
    problem = candidates.problem(Table(len(candidates.names)), multiple)
    place = int(SOLVERS.make(solver).solve(problem, seed).design[0])
    broken = _broken(candidates, place)
    explanation = explain(candidates, place)
    return Choice(place, broken, explanation, (*nearest(candidates, place), *explanation.lines()))


def _broken(candidates: Candidates, place: int) -> tuple[str, ...]:
    """Limits that are more likely broken than kept."""
    return tuple(k.text for k, figure in candidates.figures.items() if chances(k, figure)[place] < 0.5)


def plan_portfolio(
    portfolio: Portfolio,
    limits: Sequence[Limit],
    device: Mapping[str, Any] | str | None = None,
    solver: str = "scan",
) -> Plan:
    """The variant to run on one device.

    Args:
        portfolio: Measured; figures hold for the machine it was measured on.
        limits: All must hold.
        device: None for that machine; `{"name": ..., "latency_ms": {variant: ms}}` with the variants that were
            measured on another, from which and from the portfolio's machine the others are predicted; or a name, as
            `edgeshift predict --device` takes it: a profile, or a device of the portfolio's samples.
        solver: Name of a solver.

    Raises:
        BadValue: If a figure that a limit needs was not measured.
    """
    candidates = of_portfolio(portfolio.variants, limits)
    name = "the portfolio's machine"
    if isinstance(device, str):
        answered = ask(portfolio, device)
        name = answered.device
        candidates = on_device(portfolio, candidates, name, answered.prediction)
    elif device is not None:
        name = str(device.get("name", "device"))
        told = from_some(portfolio, name, device.get("latency_ms"))
        candidates = on_device(portfolio, candidates, name, told)
    choice = choose(candidates, solver)
    variant = portfolio.variants[choice.place]
    measured = all(figure.kind == "measured" for figure in candidates.figures.values())
    pick = Pick(
        name,
        variant.id,
        variant.name,
        tuple(limit.text for limit in limits),
        choice.broken,
        float(candidates.gains[choice.place]),
        {limit.text: float(figure.value[choice.place]) for limit, figure in candidates.figures.items()},
        float(min(1.0, max(0.0, candidates.sure()[choice.place]))),
        "measured" if measured else "predicted",
    )
    return Plan((pick,), (variant.id,), digest(portfolio.manifest.body()), solver, choice.says).check()


def from_some(portfolio: Portfolio, name: str, measured: object) -> Prediction:
    """Latencies of all variants on another device, from those of some variants there.

    Raises:
        BadValue: If none was measured, or a name is unknown.
    """
    if not isinstance(measured, Mapping) or not measured:
        raise BadValue(f"latency_ms of {name}", measured, "milliseconds of at least one variant by name")
    here = np.array([v.measured("latency").value for v in portfolio.variants])
    there = np.full(len(here), np.nan)
    for label, value in measured.items():
        there[portfolio.variants.index(portfolio.find(label))] = float(value)
    guess = _scaled(np.log(here), np.log(there), len(measured))
    sure = ~np.isnan(there)
    low, value, high = (np.where(sure, there, x) for x in (guess.low, guess.value, guess.high))
    return replace(guess, low=low, value=value, high=high)


def on_device(portfolio: Portfolio, candidates: Candidates, name: str, latency: Prediction) -> Candidates:
    """The candidates on another device, whose latencies are given.

    Raises:
        BadValue: If a limit is on energy or memory of the other device.
    """
    here = np.array([v.measured("latency").value for v in portfolio.variants])
    figures = {}
    for limit, figure in candidates.figures.items():
        if limit.quantity in ("accuracy", "size"):
            figures[limit] = figure
        elif limit.quantity in ("latency", "p95") and limit.point.batch == 1:
            ratio = figure.value / here  # what a p95 or a lower clock adds is taken over from this machine
            value, low, high = (x * ratio for x in (latency.value, latency.low, latency.high))
            figures[limit] = replace(latency, value=value, low=low, high=high, unit="ms", kind="predicted")
        else:
            raise BadValue(f"limit for {name}", limit.text, "on latency or p95 at batch 1, size or accuracy")
    return Candidates(candidates.names, candidates.gains, figures).check()


# Typical error of one scale from device to device for arbitrary networks: 11 to 15 % in published tables, as log.
ELSEWHERE = Prior(scale=0.14, weight=3.0)
# Squared log units of spread that the slope's prior of 1 counts for: a factor of 1.6 among the measured variants.
SLOPE = 0.25


def _scaled(here: Floats, there: Floats, count: int) -> Prediction:
    """`there` where it is missing, as a line in `here` whose slope is drawn to 1; both are logs."""
    known = ~np.isnan(there)
    x, y = here[known], there[known]
    slope = (((x - x.mean()) * (y - y.mean())).sum() + SLOPE) / (((x - x.mean()) ** 2).sum() + SLOPE)
    line = y.mean() + slope * (here - x.mean())
    # A line through one or two points has no errors that would say anything.
    errors = y - line[known] if count > 2 else np.zeros(0)
    width = ELSEWHERE.half_width(errors, 0.9)
    return interval(line, width, 0.9, f"the portfolio's machine, {count} measurements")


@dataclass(frozen=True)
class Trial:
    """A choice in a table, judged by the table.

    Attributes:
        device: Held out.
        row: Chosen.
        met: Whether the chosen row keeps all limits, in truth.
        said_met: Whether the planner said so.
        accuracy: Of the chosen row.
        cost: True cost of the chosen row, in the table's unit.
        predicted: Predicted cost of the chosen row.
        optimum_row: Most accurate row that keeps the limits, in truth; -1 if none does.
        optimum_accuracy: Its accuracy.
        optimum_cost: Its cost.
        measurements: Costs that were looked at on the device: for calibration and for verifying.
        decide_ms: Time of the decision, without fitting and without measuring.
        fit_ms: Time to fit the predictor to the device.
        says: Lines for the user.
    """

    device: str
    row: int
    met: bool
    said_met: bool
    accuracy: float
    cost: float
    predicted: float
    optimum_row: int
    optimum_accuracy: float
    optimum_cost: float
    measurements: int
    decide_ms: float
    fit_ms: float
    says: tuple[str, ...] = ()

    @property
    def regret(self) -> float:
        """Accuracy lost against the true optimum, in the table's unit; below 0 where the pick is over a limit."""
        return self.optimum_accuracy - self.accuracy


@dataclass(frozen=True)
class Asked:
    """How a table is planned on.

    Attributes:
        limits: On the table's quantity, and on accuracy.
        solver: Name of a solver.
        predictor: Name of a predictor.
        calibrate: Rows measured on the device to fit the predictor, drawn at random.
        verify: Rows measured afterwards.
        multiple: Deviations of margin where nothing verifies.
        seed: Of all draws.
    """

    limits: tuple[Limit, ...]
    solver: str = "scan"
    predictor: str = "device_net"
    calibrate: int = 20
    verify: int = 4
    multiple: float = MULTIPLE
    seed: int = 0


@dataclass(frozen=True)
class Target:
    """A held-out device with its predictions, ready to be asked.

    Attributes:
        device: Name.
        truth: `(n,)` true costs, NaN where the table has none.
        accuracy: `(n,)`, 0..1.
        prediction: Of the n rows.
        measured: Rows that were measured for calibration.
        quantity: Of the table.
        fit_ms: Time to fit.
    """

    device: str
    truth: Floats
    accuracy: Floats
    prediction: Prediction
    measured: tuple[int, ...]
    quantity: str
    fit_ms: float


def hold_out(samples: Samples, device: str, asked: Asked) -> Target:
    """A device as if it were new: its costs are seen at a few rows only, its family's nowhere.

    Args:
        samples: All devices.
        device: To plan for.
        asked: Predictor, calibration and seed.

    Raises:
        BadValue: If the table lacks the device or accuracies.
    """
    truth = samples.column(device)
    if samples.accuracy is None:
        raise BadValue("accuracy of the table", None, "a column of it")
    rows = np.flatnonzero(~np.isnan(truth))
    if not 0 <= asked.calibrate < len(rows):
        raise BadValue("calibrating measurements", asked.calibrate, f"0..{len(rows) - 1}")
    drawn = np.random.default_rng(asked.seed).choice(rows, asked.calibrate, replace=False)
    family = samples.family(device)
    told = samples.without([d for d in samples.devices if d != device and samples.family(d) == family])
    cost = told.cost.copy()
    cost[:, told.devices.index(device)] = np.nan
    cost[drawn, told.devices.index(device)] = truth[drawn]
    told = replace(told, cost=cost).check()
    start = time.perf_counter()
    prediction = MODELS.make(asked.predictor).fit(told, device, asked.seed).predict(told)
    took = 1e3 * (time.perf_counter() - start)
    accuracy = np.asarray(samples.accuracy, float)
    accuracy = accuracy / 100 if accuracy.max() > 1 else accuracy
    return Target(device, truth, accuracy, prediction, tuple(map(int, drawn)), samples.quantity, took)


def decide(target: Target, asked: Asked) -> Trial:
    """A choice for a held-out device, judged by the true table.

    With verifying measurements the rows are tried one after the other, the most promising first, and the best one
    measured inside the limit is chosen, calibration rows included. Without them the solver chooses under the margin.

    Raises:
        BadValue: If not exactly one limit is on the table's quantity, or one is on something else.
    """
    bound, floor = _split(asked.limits, target.quantity)
    usable = np.flatnonzero(~np.isnan(target.truth) & (target.accuracy >= floor))
    if not len(usable):
        raise BadValue("accuracy floor", floor, f"at most {float(target.accuracy.max())}, the table's best")
    p = target.prediction
    part = Prediction(p.value[usable], p.low[usable], p.high[usable], p.level, p.unit, p.kind, p.source)
    gains, truth = target.accuracy[usable], target.truth[usable]
    place_of = {int(row): i for i, row in enumerate(usable)}
    start = time.perf_counter()
    if asked.verify:
        before = {place_of[r]: float(truth[place_of[r]]) for r in target.measured if r in place_of}
        checked = verify(gains, part, bound.value, lambda i: float(truth[i]), asked.verify, before)
        place, said, more = checked.place, checked.met, len(checked.measured)
        lines: tuple[str, ...] = (
            f"{more} rows measured to verify; the best one inside the limit is chosen.",
        )
        if not said:
            lines = (f"{bound.text} holds for nothing that was measured; the nearest is chosen.",)
    else:
        names = tuple(f"row {int(r)}" for r in usable)
        figures = {bound: part}
        candidates = Candidates(names, gains, figures)
        problem = candidates.problem(Table(len(usable)), asked.multiple)
        place = int(SOLVERS.make(asked.solver).solve(problem, asked.seed).design[0])
        said, more = not _broken(candidates, place), 0
        lines = ()
    took = 1e3 * (time.perf_counter() - start)
    if not asked.verify:
        lines = (*nearest(candidates, place), *explain(candidates, place).lines())
    inside = truth <= bound.value
    best = int(np.where(inside, gains, -np.inf).argmax()) if inside.any() else -1
    return Trial(
        target.device, int(usable[place]), bool(truth[place] <= bound.value), bool(said), float(gains[place]),
        float(truth[place]), float(part.value[place]), int(usable[best]) if best >= 0 else -1,
        float(gains[best]) if best >= 0 else float("nan"), float(truth[best]) if best >= 0 else float("nan"),
        len(target.measured) + more, took, target.fit_ms, lines,
    )  # fmt: skip


def _split(limits: Sequence[Limit], quantity: str) -> tuple[Limit, float]:
    """The ceiling on the table's quantity, and the accuracy floor."""
    name = {"peak_memory": "memory", "latency": "latency", "energy": "energy"}[quantity]
    other = [k.text for k in limits if k.quantity not in (name, "accuracy")]
    bounds = [k for k in limits if k.quantity == name]
    if other or len(bounds) != 1:
        raise BadValue("limits", [k.text for k in limits], f"one on {name}, and one on accuracy if need be")
    floors = [k.value for k in limits if k.quantity == "accuracy"]
    return bounds[0], max(floors, default=0.0)
