# SPDX-License-Identifier: Apache-2.0
"""A plan as a file: which variant each device runs, under which limits, and what was expected of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.core.files import read_json, write_json

FORMAT = 1
KIND = "edgeshift plan"


@dataclass(frozen=True)
class Pick:
    """What one device runs.

    Attributes:
        device: Name of the device.
        variant: Id of the variant, or "" where the space is not a portfolio.
        name: Short label of the variant or design.
        limits: What was asked, each as text such as "latency<=20ms@batch=1".
        broken: Those of `limits` that it does not keep; () = it keeps all. A pick that breaks a limit is the
            one that comes nearest, and is never left unsaid.
        accuracy: What is known or predicted of it, 0..1.
        expected: Limit text -> measured or predicted value, in the limit's unit.
        sure: Probability that all limits hold on the device, 0..1; 1 where every figure was measured there.
        kind: "measured" or "predicted": where `expected` comes from.
        design: The choices that make it, for a space that is not a portfolio.
    """

    device: str
    variant: str
    name: str
    limits: tuple[str, ...]
    broken: tuple[str, ...]
    accuracy: float
    expected: Mapping[str, float] = field(default_factory=dict)
    sure: float = 1.0
    kind: str = "predicted"
    design: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether it keeps every limit."""
        return not self.broken

    def check(self) -> "Pick":
        """Self, or BadValue."""
        if not set(self.broken) <= set(self.limits):
            raise BadValue(f"broken limits of {self.device}", self.broken, f"among {self.limits}")
        if not 0 <= self.sure <= 1:
            raise BadValue(f"sure of {self.device}", self.sure, "0..1")
        if self.kind not in ("measured", "predicted"):
            raise BadValue("kind", self.kind, "measured or predicted")
        if not (self.variant or self.design or self.name):
            raise BadValue(f"pick of {self.device}", "nothing", "a variant or a design")
        return self


@dataclass(frozen=True)
class Plan:
    """One pick a device, and the variants that have to be shipped for them.

    Attributes:
        picks: In the order of the devices.
        variants: Ids to ship, the most accurate first; () where the space is not a portfolio.
        portfolio: Digest of the manifest the ids come from, or "".
        solver: Name of the solver that chose.
        says: What the planner has to say of its choice, one line each.
    """

    picks: tuple[Pick, ...]
    variants: tuple[str, ...] = ()
    portfolio: str = ""
    solver: str = ""
    says: tuple[str, ...] = ()

    def check(self) -> "Plan":
        """Self, or BadValue."""
        if not self.picks and not self.variants:
            raise BadValue("plan", "no picks", "a variant for at least one device")
        for pick in self.picks:
            pick.check()
        if self.variants:
            strange = [p.variant for p in self.picks if p.variant not in self.variants]
            if strange:
                raise BadValue("variants of picks", strange, "among those to ship")
        if len(set(self.variants)) != len(self.variants):
            raise BadValue("variants to ship", self.variants, "distinct")
        return self

    def keep(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Those of `ids` that the plan ships, in the order of `ids`; what `serve` and `runtime` restrict to.

        Raises:
            BadPortfolio: If the plan ships a variant that is not among them.
        """
        missing = [v for v in self.variants if v not in ids]
        if missing:
            raise BadPortfolio(f"plan must fit the portfolio, got variant {missing[0]!r} that it lacks")
        return tuple(i for i in ids if i in self.variants)


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan as a whole file.

    Raises:
        BadValue: If a part is out of range.
        DiskFull: If there is no room.
    """
    write_json(path, plan_to_json(plan))


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """A plan as JSON types."""
    return {"kind": KIND, "format": FORMAT, **asdict(plan.check())}


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        BadPortfolio: If the file is none, or of another format.
        BadValue: If a field is missing, unknown or out of range.
    """
    if not path.is_file():
        raise BadPortfolio(f"plan must be a file, got {path}")
    raw = read_json(path)
    if not isinstance(raw, dict) or raw.pop("kind", None) != KIND or raw.pop("format", None) != FORMAT:
        raise BadPortfolio(f"{path} must be a plan of format {FORMAT}, got another file")
    try:
        picks = tuple(
            Pick(**{**p, "limits": tuple(p["limits"]), "broken": tuple(p["broken"])}) for p in raw["picks"]
        )
        return Plan(**{**raw, "picks": picks, **{k: tuple(raw[k]) for k in ("variants", "says")}}).check()
    except (TypeError, KeyError) as error:
        raise BadValue("plan", str(error), "a record with the fields of Plan") from error
