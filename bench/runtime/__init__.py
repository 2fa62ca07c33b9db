# SPDX-License-Identifier: Apache-2.0
"""What the runtime promises, measured: switching, memory, faults, overload."""
