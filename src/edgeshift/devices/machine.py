# SPDX-License-Identifier: Apache-2.0
"""The machine in one line, so that a figure says where it is from."""

import os
import platform
from pathlib import Path

# Instruction sets that decide which kernels a runtime picks -> what to call them, the best first.
INSTRUCTIONS = {
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "avx": "AVX",
    "sve": "SVE",
    "asimddp": "NEON with dot product",
    "asimd": "NEON",
    "neon": "NEON",
}
# Where kernels name the processor, in order: x86, older Arm, RISC-V.
NAMES = ("model name", "Hardware", "uarch")


def facts(root: Path) -> dict[str, str]:
    """The first value of each field of `/proc/cpuinfo`; empty where there is none."""
    found: dict[str, str] = {}
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return found
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def board(root: Path) -> str:
    """The board's name from the device tree, such as "Raspberry Pi 4 Model B"; empty where there is none."""
    try:
        text = (root / "proc/device-tree/model").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.strip("\0 \n")


def usable_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_device(root: Path = Path("/")) -> str:
    """Processor, cores, instruction set and system, such as "AMD EPYC, 2 cores, AVX2, Linux x86_64".

    Args:
        root: Where `/proc` is; another folder for tests.
    """
    cpu = facts(root)
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    name = (
        board(root)
        or next((cpu[key] for key in NAMES if cpu.get(key)), "")
        or platform.processor()
        or "unknown CPU"
    )
    best = next((says for flag, says in INSTRUCTIONS.items() if flag in flags), "")
    cores = usable_cores()
    parts = [
        name,
        f"{cores} core{'s' if cores > 1 else ''}",
        best,
        f"{platform.system()} {platform.machine()}",
    ]
    return ", ".join(part for part in parts if part)


def caches(root: Path = Path("/")) -> dict[int, int]:
    """Level -> KiB of the data caches that the first core uses; empty where the system does not say."""
    found: dict[int, int] = {}
    for folder in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / f).read_text().strip() for f in ("level", "type", "size"))
        except OSError:
            continue
        units = {"K": 1, "M": 1024}
        if kind != "Instruction" and level.isdigit() and size[:-1].isdigit() and size[-1:] in units:
            found[int(level)] = int(size[:-1]) * units[size[-1]]
    return found
