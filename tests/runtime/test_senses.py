# SPDX-License-Identifier: Apache-2.0
"""Sensors read in the background: the last good reading, for five seconds."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from edgeshift.core.card import Card
from edgeshift.runtime.senses import Senses
from edgeshift.runtime.sensors.shape import Sensor
from edgeshift.runtime.state import Reading


@dataclass(frozen=True)
class Says(Sensor):
    """What it is told to say; an exception is raised."""

    card: ClassVar[Card] = Card("says", "Says.", "house rule")
    unit: ClassVar[str] = "any"

    says: list[object] = field(default_factory=lambda: [1.0])

    def read(self, root: Path = Path("/")) -> float | None:
        said = self.says[0]
        if isinstance(said, Exception):
            raise said
        return said  # type: ignore[return-value]


class World:
    """One sensor and a clock."""

    def __init__(self) -> None:
        self.now, self.sensor = 100.0, Says()
        self.senses = Senses({"says": self.sensor}, Path("/"), lambda: self.now, lambda: None)
        self.senses.read()

    def read(self, value: object) -> dict[str, Reading]:
        self.sensor.says[0] = value
        self.senses.read()
        return self.senses.readings()


def test_a_reading_has_its_age() -> None:
    world = World()
    world.now += 2
    assert world.senses.readings() == {"says": Reading(1.0, 2.0)}


@pytest.mark.parametrize("silence", [None, math.nan, math.inf, OSError("EIO"), ValueError("garbage")])
def test_a_silent_sensor_keeps_its_last_reading_for_five_seconds(silence: object) -> None:
    world = World()
    world.now += 5
    assert world.read(silence) == {"says": Reading(1.0, 5.0)}
    world.now += 0.1
    assert world.read(silence) == {}
    assert world.senses.failures == 2
    assert world.read(3.0) == {"says": Reading(3.0, 0.0)}


def test_without_sensors_the_clock_is_looked_at_all_the_same() -> None:
    ticks: list[int] = []
    senses = Senses({}, Path("/"), lambda: 0.0, lambda: ticks.append(1))
    senses._tick()
    assert (ticks, senses.readings()) == ([1], {})


def test_threads_end() -> None:
    world = World()
    world.senses.start()
    world.senses.stop()
    assert not world.senses._ticker.is_alive()
