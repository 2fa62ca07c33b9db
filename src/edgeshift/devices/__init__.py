# SPDX-License-Identifier: Apache-2.0
"""Devices by name: profiles, the probe that measures one, clocks. Imports no torch."""

from edgeshift.devices.machine import describe_device
from edgeshift.devices.probe import probe
from edgeshift.devices.profile import (
    DeviceProfile,
    device,
    import_profile,
    names,
    read_profile,
    this_machine,
    write_profile,
)

__all__ = [
    "DeviceProfile",
    "describe_device",
    "device",
    "import_profile",
    "names",
    "probe",
    "read_profile",
    "this_machine",
    "write_profile",
]
