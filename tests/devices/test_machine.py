# SPDX-License-Identifier: Apache-2.0
"""The machine in one line."""

import platform
from pathlib import Path

import pytest

from edgeshift.devices.machine import describe_device, usable_cores

X86 = (
    "processor : 0\nmodel name\t: AMD EPYC 9B14\nflags\t\t: fpu sse2 avx avx2 avx512f\n\nmodel name : other\n"
)
PI = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32\nCPU part\t: 0xd08\n"


def machine(tmp_path: Path, cpuinfo: str, model: str = "") -> Path:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    if model:
        (tmp_path / "proc/device-tree/model").write_bytes(model.encode() + b"\0")
    return tmp_path


CORES = f"{usable_cores()} core{'s' if usable_cores() > 1 else ''}"
SYSTEM = f"{platform.system()} {platform.machine()}"


def test_an_x86_machine_names_its_best_instructions(tmp_path: Path) -> None:
    assert describe_device(machine(tmp_path, X86)) == f"AMD EPYC 9B14, {CORES}, AVX-512, {SYSTEM}"


def test_avx2_is_said_where_it_is_the_best(tmp_path: Path) -> None:
    assert ", AVX2, " in describe_device(machine(tmp_path, X86.replace(" avx512f", "")))


def test_a_board_is_called_by_its_name(tmp_path: Path) -> None:
    found = describe_device(machine(tmp_path, PI, "Raspberry Pi 4 Model B Rev 1.4"))
    assert found == f"Raspberry Pi 4 Model B Rev 1.4, {CORES}, NEON, {SYSTEM}"


@pytest.mark.parametrize("text", ["", "no colon here", ":::", "\xff\x00"])
def test_a_strange_machine_is_still_described(tmp_path: Path, text: str) -> None:
    assert describe_device(machine(tmp_path, text)).endswith(f"{CORES}, {SYSTEM}")


def test_a_machine_without_proc_is_still_described(tmp_path: Path) -> None:
    assert describe_device(tmp_path).endswith(f"{CORES}, {SYSTEM}")
