# SPDX-License-Identifier: Apache-2.0
"""Limits with units, each at an operating point: `p95<=20ms@batch=1,clock=0.6; size<=2MB; accuracy>=91%`."""

import math
import re
from dataclasses import dataclass

from edgeshift.core.errors import BadValue, UnknownName


@dataclass(frozen=True)
class Quantity:
    """Something that can be limited.

    Attributes:
        name: As it is written in a limit.
        unit: What values are kept in.
        units: Unit -> factor to `unit`.
        more: Whether more is better: a floor, written `>=`; the others are ceilings, written `<=`.
    """

    name: str
    unit: str
    units: dict[str, float]
    more: bool = False


TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
QUANTITIES = {
    q.name: q
    for q in (
        Quantity("latency", "ms", TIMES),
        Quantity("p95", "ms", TIMES),
        Quantity("energy", "mJ", {"uJ": 1e-3, "mJ": 1.0, "J": 1e3}),
        Quantity("memory", "B", BYTES),
        Quantity("size", "B", BYTES),
        Quantity("accuracy", "", {"": 1.0, "%": 0.01}, more=True),
    )
}
# Names with the unit in them, as columns of tables and of fleets are called.
COLUMNS = {
    "latency_ms": ("latency", "ms"),
    "p95_ms": ("p95", "ms"),
    "energy_mj": ("energy", "mJ"),
    "memory_bytes": ("memory", "B"),
    "peak_memory_bytes": ("memory", "B"),
    "size_bytes": ("size", "B"),
    "file_size_bytes": ("size", "B"),
    "accuracy": ("accuracy", ""),
}
ONE = re.compile(
    r"\s*(?P<name>[A-Za-z_0-9]+)\s*(?P<sign><=|>=)\s*(?P<value>[-+0-9.eE]*[0-9.])\s*(?P<unit>[A-Za-z%]*)\s*"
    r"(?:@(?P<at>[^;@]*))?"
)


@dataclass(frozen=True)
class Point:
    """Under which conditions a limit must hold.

    Attributes:
        batch: Inputs per call.
        clock: Clock over the highest one, above 0 and at most 1.
        threads: Of the runtime.
        runtime: Name, or "" for the one the figures were taken with.
    """

    batch: int = 1
    clock: float = 1.0
    threads: int = 1
    runtime: str = ""

    def check(self) -> "Point":
        """Self, or BadValue."""
        if self.batch < 1 or self.threads < 1:
            raise BadValue("batch and threads", (self.batch, self.threads), "from 1")
        if not 0 < self.clock <= 1:
            raise BadValue("clock", self.clock, "above 0 and at most 1, a share of the highest")
        return self

    def text(self) -> str:
        """`@batch=8,clock=0.6`: what differs from the usual; "" if nothing does."""
        usual = Point()
        parts = [
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in vars(self).items()
            if value != getattr(usual, name)
        ]
        return "@" + ",".join(parts) if parts else ""


@dataclass(frozen=True)
class Limit:
    """One ceiling or floor.

    Attributes:
        quantity: A name from `QUANTITIES`.
        value: In the quantity's unit.
        point: Where it must hold.
    """

    quantity: str
    value: float
    point: Point = Point()

    @property
    def floor(self) -> bool:
        """Whether values must be at least the limit; otherwise at most."""
        return QUANTITIES[self.quantity].more

    @property
    def text(self) -> str:
        """Canonical text, that `parse` reads back."""
        sign = ">=" if self.floor else "<="
        number = repr(self.value).removesuffix(".0")
        return f"{self.quantity}{sign}{number}{QUANTITIES[self.quantity].unit}{self.point.text()}"

    def check(self) -> "Limit":
        """Self, or BadValue."""
        if self.quantity == "accuracy" and self.value > 1:
            raise BadValue("accuracy floor", self.value, "0..1, or a percentage with its sign such as 91%")
        return self

    def holds(self, value: float) -> bool:
        """Whether a value keeps it; NaN keeps nothing."""
        return value >= self.value if self.floor else value <= self.value


def parse(text: str) -> tuple[Limit, ...]:
    """The limits in a text; several are separated by `;`.

    `<quantity> <= <number><unit> @ <name>=<value>, ...`. Quantities: latency (median), p95, energy, memory
    (peak), size (of the file) and accuracy, which is a floor and written `>=`. The unit may stand in the name:
    `latency_ms<=20`. After `@` stands the operating point: batch, clock (share of the highest), threads, runtime.

    Raises:
        BadValue: If the text is no such list, a unit is missing or strange, or the same limit comes twice.
        UnknownName: If there is no such quantity.
    """
    found = tuple(_one(part) for part in text.split(";") if part.strip())
    if not found:
        raise BadValue("limits", text, "at least one, such as latency<=20ms")
    places = [(limit.quantity, limit.point) for limit in found]
    if len(set(places)) != len(places):
        raise BadValue("limits", text, "one for each quantity and operating point")
    return found


def _one(text: str) -> Limit:
    match = ONE.fullmatch(text)
    if match is None:
        raise BadValue("limit", text.strip(), "such as latency<=20ms@batch=1,clock=0.6 or accuracy>=91%")
    name, unit = match["name"], match["unit"]
    if name in COLUMNS:
        name, known = COLUMNS[name]
        if unit and (known and unit != known):
            raise BadValue(f"unit of {match['name']}", unit, f"{known}, which its name says")
        unit = unit or known
    if name not in QUANTITIES:
        raise UnknownName("quantity", name, [*QUANTITIES, *COLUMNS])
    quantity = QUANTITIES[name]
    if unit not in quantity.units:
        raise BadValue(f"unit of {name}", unit, f"one of {', '.join(u for u in quantity.units if u)}")
    if (match["sign"] == ">=") != quantity.more:
        raise BadValue(f"sign of {name}", match["sign"], ">=, a floor" if quantity.more else "<=, a ceiling")
    return Limit(
        name, _number(name, match["value"]) * quantity.units[unit], _point(match["at"] or "")
    ).check()


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise BadValue(f"limit of {name}", text, "a number") from error
    if not (math.isfinite(value) and value > 0):
        raise BadValue(f"limit of {name}", text, "finite and above 0")
    return value


def _point(text: str) -> Point:
    fields: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = (s.strip() for s in part.partition("="))
        if not equals or key not in vars(Point()) or key in fields:
            raise BadValue("operating point", part, "batch=, clock=, threads= or runtime=, each once")
        fields[key] = value
    try:
        return Point(
            int(fields.get("batch", 1)),
            float(fields.get("clock", 1)),
            int(fields.get("threads", 1)),
            fields.get("runtime", ""),
        ).check()
    except ValueError as error:
        if isinstance(error, BadValue):
            raise
        raise BadValue("operating point", text, "numbers for batch, clock and threads") from error
