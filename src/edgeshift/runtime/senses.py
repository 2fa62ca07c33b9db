# SPDX-License-Identifier: Apache-2.0
"""Reads the sensors once a second in a thread of its own, so that a slow file never delays a request."""

import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from edgeshift.runtime.sensors.shape import Sensor
from edgeshift.runtime.state import Reading

PERIOD_S = 1.0
# A policy trusts nothing older; a reading is handed out no longer.
TRUSTED_S = 5.0


class Senses:
    """The last good reading of each sensor.

    Attributes:
        failures: Times that a sensor gave nothing.
    """

    def __init__(
        self, sensors: Mapping[str, Sensor], root: Path, now: Callable[[], float], tick: Callable[[], object]
    ) -> None:
        """Nothing is read before `start`.

        Args:
            sensors: By name.
            root: Where `/sys` and `/proc` are.
            now: The clock.
            tick: Called once per period, sensors or not.
        """
        self._sensors = dict(sensors)
        self._root = root
        self._now = now
        self._tick = tick
        self._last: dict[str, tuple[float, float]] = {}
        self._stopped = threading.Event()
        self._ticker = threading.Thread(target=self._tick_all, name="edgeshift-clock", daemon=True)
        self._reader = threading.Thread(target=self._read_all, name="edgeshift-sensors", daemon=True)
        self.failures = 0

    def start(self) -> None:
        """Read every sensor once, then go on in the background."""
        self.read()
        self._ticker.start()
        if self._sensors:
            self._reader.start()

    def _tick_all(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            self._tick()

    def _read_all(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            self.read()

    def read(self) -> None:
        """Ask every sensor; one that fails or says nothing keeps its last reading until that is too old."""
        for name, sensor in self._sensors.items():
            try:
                value = sensor.read(self._root)
            except Exception:  # its contract says it never raises; a broken one must not stop the others
                value = None
            if value is None or not math.isfinite(value):
                self.failures += 1
            else:
                self._last[name] = (value, self._now())

    def readings(self) -> dict[str, Reading]:
        """Name -> reading, for those not too old to be trusted."""
        if not self._last:
            return {}
        now = self._now()
        return {n: Reading(v, now - t) for n, (v, t) in tuple(self._last.items()) if now - t <= TRUSTED_S}

    def stop(self) -> None:
        """End the threads; one that hangs in a file is left behind."""
        self._stopped.set()
        self._ticker.join()
        if self._sensors:
            self._reader.join(timeout=PERIOD_S)
