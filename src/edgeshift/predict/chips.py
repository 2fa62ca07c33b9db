# SPDX-License-Identifier: Apache-2.0
"""Spec sheets of the chips in the published sets: what is known of a device before anything is measured on it.

Vendors' data: peak fp32 arithmetic in billions of multiply-accumulates a second, memory bandwidth in GB/s,
clock in GHz, cores (CPU) or shader cores (GPU). Spec values, not measurements.
"""

from collections.abc import Mapping

# Name: (kind, gmacs, bandwidth_gbs, clock_ghz, cores)
CHIPS: dict[str, tuple[str, float, float, float, int]] = {
    "1080ti": ("gpu", 5670, 484, 1.58, 3584),
    "2080ti": ("gpu", 6725, 616, 1.55, 4352),
    "titanx": ("gpu", 5480, 480, 1.53, 3584),
    "titanxp": ("gpu", 6075, 548, 1.58, 3840),
    "titan_xp": ("gpu", 6075, 548, 1.58, 3840),
    "titan_rtx": ("gpu", 8155, 672, 1.77, 4608),
    "v100": ("gpu", 7065, 900, 1.38, 5120),
    "silver_4114": ("cpu", 352, 115, 2.2, 10),
    "silver_4210r": ("cpu", 384, 115, 2.4, 10),
    "gold_6226": ("cpu", 518, 140, 2.7, 12),
    "gold_6240": ("cpu", 749, 140, 2.6, 18),
    "samsung_a50": ("phone", 66, 29, 2.3, 8),
    "samsung_s7": ("phone", 58, 28, 2.3, 8),
    "essential_ph_1": ("phone", 69, 30, 2.45, 8),
    "pixel2": ("phone", 67, 30, 2.35, 8),
    "pixel3": ("phone", 73, 30, 2.5, 8),
    "raspi4": ("board", 24, 13, 1.5, 4),
}
COMPILED = ("pixel3", "raspi4")


def profile(device: str) -> dict[str, float | str]:
    """Spec sheet of a device column such as "1080ti_32"; empty for a chip that is not listed."""
    chip, batch = split(device)
    if chip not in CHIPS:
        return {}
    kind, gmacs, bandwidth, clock, cores = CHIPS[chip]
    return {
        "kind": kind,
        "runtime": "tflite" if chip in COMPILED else "pytorch",
        "compiled": float(chip in COMPILED),
        "batch_size": float(batch),
        "gmacs": gmacs,
        "bandwidth_gbs": bandwidth,
        "clock_ghz": clock,
        "cores": float(cores),
    }


def split(device: str) -> tuple[str, int]:
    """`"titan_rtx_32"` -> `("titan_rtx", 32)`; names without a batch size have 1."""
    chip, _, last = device.rpartition("_")
    return (chip, int(last)) if chip and chip in CHIPS and last.isdigit() else (device, 1)


def families(devices: tuple[str, ...]) -> dict[str, str]:
    """Each device's chip: batch sizes of one chip are one family."""
    return {device: split(device)[0] for device in devices}


def groups(devices: tuple[str, ...], noisy: Mapping[str, float] | None = None) -> dict[str, str]:
    """Device -> "gpu and xeon", "compiled", "phone"; those whose repeats are 4 % apart or more by themselves."""
    found = {}
    for device in devices:
        chip = split(device)[0]
        kind = CHIPS[chip][0] if chip in CHIPS else "other"
        if chip in COMPILED:
            found[device] = "compiled"
        elif kind in ("gpu", "cpu"):
            found[device] = "noisy gpu and xeon" if (noisy or {}).get(device, 0.0) >= 4 else "gpu and xeon"
        else:
            found[device] = kind
    return found
