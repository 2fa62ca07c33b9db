# SPDX-License-Identifier: Apache-2.0
"""Seeds that name their purpose, so that a resumed run draws what an unbroken one drew."""

import hashlib


def seed_for(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose, such as `seed_for(0, "shuffle", level, epoch)`."""
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
