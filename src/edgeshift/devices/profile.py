# SPDX-License-Identifier: Apache-2.0
"""A device by name: what its maker says, what runs on it, and what the probe measured. JSON in and out."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.files import read_json, write_json
from edgeshift.devices.machine import INSTRUCTIONS, board, caches, facts, usable_cores

SHELF = Path(__file__).parent / "profiles"
# Where imported profiles lie, below the folder that this variable names.
VARIABLE, FOLDER = "EDGESHIFT_DATA", "devices"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
# Bits of one vector register.
VECTOR_BITS = {"AVX-512": 512, "AVX2": 256, "AVX": 256, "NEON with dot product": 128, "NEON": 128, "SVE": 256}


@dataclass(frozen=True)
class DeviceProfile:
    """Everything a predictor may know of a device without measuring a network on it; 0 = not known.

    Attributes:
        name: Lower-case letters, digits, dots, dashes.
        chip: Maker's name of the processor.
        cores: Cores that may be used.
        clock_ghz: Highest clock.
        isa: Best instruction set, such as "AVX2".
        vector_bits: Bits of a vector register.
        l1_kib: First-level data cache of one core.
        l2_kib: Second-level cache of one core, or shared where the maker shares it.
        l3_kib: Last-level cache of all cores.
        memory_gib: Main memory.
        bandwidth_gbs: Main memory, 10^9 bytes a second.
        peak_gmacs: Multiply-accumulates of all threads in use, 10^9 a second, in `precision`.
        runtime: Name and version, "" = not chosen.
        precision: One of `PRECISIONS`.
        threads: Intra-op threads.
        batch_size: Inputs per call.
        sources: Field name -> where its number is from.
        probe: What `edgeshift probe` wrote, or empty.
    """

    name: str
    chip: str = ""
    cores: int = 0
    clock_ghz: float = 0.0
    isa: str = ""
    vector_bits: int = 0
    l1_kib: int = 0
    l2_kib: int = 0
    l3_kib: int = 0
    memory_gib: float = 0.0
    bandwidth_gbs: float = 0.0
    peak_gmacs: float = 0.0
    runtime: str = ""
    precision: str = "fp32"
    threads: int = 1
    batch_size: int = 1
    sources: Mapping[str, str] = field(default_factory=dict)
    probe: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> "DeviceProfile":
        """Self, or BadValue."""
        checked_name(self.name)
        if self.precision not in PRECISIONS:
            raise BadValue("precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        if self.threads < 1 or self.batch_size < 1:
            raise BadValue("threads and batch_size", (self.threads, self.batch_size), "from 1")
        for name in NUMBERS:
            if not (math.isfinite(value := getattr(self, name)) and value >= 0):
                raise BadValue(f"{name} of {self.name}", value, "0 or more")
        unknown = sorted(set(self.sources) - {f.name for f in fields(self)})
        if unknown:
            raise BadValue(f"sources of {self.name}", unknown, "names of fields")
        return self

    def flat(self) -> dict[str, Any]:
        """Numbers and short texts for a predictor: every known field, and what the probe says in numbers."""
        found = {name: getattr(self, name) for name in (*NUMBERS, *TEXTS) if getattr(self, name)}
        summary = self.probe.get("summary", {})
        found |= {f"probe_{key}": value for key, value in summary.items()}
        if self.probe.get("rows"):
            found["probe_rows"] = self.probe["rows"]
        return found


def checked_name(name: str) -> str:
    """The name, or BadValue."""
    if not NAME.fullmatch(name):
        raise BadValue("name of the device", name, "lower-case letters, digits, dots and dashes")
    return name


TEXTS = ("chip", "isa", "runtime", "precision")
NUMBERS = (
    "cores", "clock_ghz", "vector_bits", "l1_kib", "l2_kib", "l3_kib", "memory_gib", "bandwidth_gbs",
    "peak_gmacs", "threads", "batch_size",
)  # fmt: skip


def profile_from_json(raw: Any, name: str = "") -> DeviceProfile:
    """The profile in a JSON value, checked.

    Args:
        raw: What `to_json` of a profile gave.
        name: Instead of the name inside.

    Raises:
        BadValue: If a field is unknown, missing, of another type or out of range.
    """
    if not isinstance(raw, dict):
        raise BadValue("device profile", type(raw).__name__, "a JSON object")
    known = {f.name: f.type for f in fields(DeviceProfile)}
    for key, value in raw.items():
        if key not in known:
            raise BadValue("field of a device profile", key, f"one of {', '.join(known)}")
        number = key in NUMBERS
        if number and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise BadValue(key, value, "a number")
        if not number and not isinstance(value, dict if key in ("sources", "probe") else str):
            raise BadValue(key, value, "an object" if key in ("sources", "probe") else "text")
    if "name" not in raw and not name:
        raise BadValue("device profile", sorted(raw), "one with a name")
    return DeviceProfile(**{**raw, **({"name": name} if name else {})}).check()


def read_profile(path: Path) -> DeviceProfile:
    """The profile in a file.

    Raises:
        BadValue: If there is no such file or it is no profile.
        BadPortfolio: If it is not JSON.
    """
    if not path.is_file():
        raise BadValue("device profile", str(path), "an existing file")
    return profile_from_json(read_json(path))


def write_profile(profile: DeviceProfile, path: Path) -> None:
    """Write a whole file that `read_profile` reads."""
    write_json(path, asdict(profile.check()))


def imported_folder() -> Path | None:
    """Where the user's own profiles lie; None where EDGESHIFT_DATA names no folder."""
    root = os.environ.get(VARIABLE, "")
    return Path(root) / FOLDER if root else None


def names() -> list[str]:
    """Names of all devices: those that come along, and the user's own."""
    mine = imported_folder()
    own = mine.glob("*.json") if mine and mine.is_dir() else ()
    return sorted({path.stem for path in (*SHELF.glob("*.json"), *own)})


def device(name: str) -> DeviceProfile:
    """The profile of a name, or in a file; the user's own comes first, "this" is this machine.

    Raises:
        UnknownName: If there is none.
        BadValue: If its file is no profile.
    """
    if name == "this":
        return this_machine()
    if name.endswith(".json"):
        return read_profile(Path(name))
    for folder in (imported_folder(), SHELF):
        if folder and NAME.fullmatch(name) and (folder / f"{name}.json").is_file():
            return read_profile(folder / f"{name}.json")
    raise UnknownName("device", name, [*names(), "this"])


def import_profile(path: Path, name: str = "") -> Path:
    """Copy a profile to the user's own; where it lies then.

    Args:
        path: A profile's file.
        name: To call it; its own name if left out.

    Raises:
        BadValue: If it is no profile, or EDGESHIFT_DATA names no folder.
    """
    found = read_profile(path)
    folder = imported_folder()
    if folder is None:
        raise BadValue(VARIABLE, "", "the folder that keeps your devices")
    if name:
        found = profile_from_json({**json.loads(json.dumps(asdict(found))), "name": name})
    place = folder / f"{found.name}.json"
    write_profile(found, place)
    return place


def this_machine(name: str = "this", root: Path = Path("/")) -> DeviceProfile:
    """What the system says about the machine it runs on.

    Args:
        name: To call it.
        root: Where `/proc` and `/sys` are; another folder for tests.
    """
    cpu = facts(root)
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    isa = next((says for flag, says in INSTRUCTIONS.items() if flag in flags), "")
    found = caches(root)
    mhz = cpu.get("cpu MHz", "0")
    return DeviceProfile(
        name=name,
        chip=board(root) or cpu.get("model name", cpu.get("Hardware", "")),
        cores=usable_cores(),
        clock_ghz=round(float(mhz) / 1000, 2),
        isa=isa,
        vector_bits=VECTOR_BITS.get(isa, 0),
        l1_kib=found.get(1, 0),
        l2_kib=found.get(2, 0),
        l3_kib=found.get(3, 0),
        memory_gib=round(memory_kib(root) / 2**20, 1),
    ).check()


def memory_kib(root: Path) -> int:
    """Main memory; 0 where the system does not say."""
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0
