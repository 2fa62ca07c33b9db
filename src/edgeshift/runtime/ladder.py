# SPDX-License-Identifier: Apache-2.0
"""The ladder of a portfolio: its variants as a policy sees them, from what the manifest measured."""

from collections.abc import Collection

from edgeshift.core.errors import BadValue
from edgeshift.core.values import Measurement, Variant
from edgeshift.portfolio import Portfolio
from edgeshift.runtime.state import Ladder, Profile

# The file that is opened; its length is the size that a policy sees.
OPENED = "onnx"


def ladder_of(portfolio: Portfolio, *, threads: int = 1, only: Collection[str] = ()) -> Ladder:
    """The variants that a policy may choose from, the fastest first.

    A variant that is slower and not more accurate on validation than another is left out.

    Args:
        portfolio: Its manifest is all that is read.
        threads: Latencies at this many threads count, at batch size 1.
        only: Names or ids; empty = all variants.

    Raises:
        UnknownName: If `only` names a variant that is not there.
        BadValue: If there is no variant, or one has no measured latency or no accuracy on validation.
    """
    chosen = [portfolio.find(name) for name in only] if only else list(portfolio.variants)
    return Ladder.of(tuple(profile_of(variant, threads=threads) for variant in chosen))


def profile_of(variant: Variant, *, threads: int = 1) -> Profile:
    """One variant as a policy sees it.

    `fixed_ms` is 0: one clock was measured, so all of the latency is taken to stretch with it.

    Raises:
        BadValue: If it has no measured latency or no accuracy on validation.
    """
    latency = _latency(variant, threads)
    if "validation" not in variant.accuracy:
        raise BadValue(f"accuracy of {variant.name}", dict(variant.accuracy), "known on validation")
    file = variant.files.get(OPENED)
    return Profile(
        id=variant.id,
        name=variant.name,
        accuracy=variant.accuracy["validation"],
        latency_ms=latency.value,
        p95_ms=max(latency.value, latency.p95 or 0.0),
        size_bytes=file.size_bytes if file else 0,
    ).check()


def _latency(variant: Variant, threads: int) -> Measurement:
    for m in variant.measurements:
        if (m.quantity, m.kind, m.batch_size, m.threads) == ("latency", "measured", 1, threads):
            return m
    got = sorted({f"{m.kind} {m.quantity}" for m in variant.measurements})
    want = f"measured at batch size 1 on {threads} thread{'s' * (threads > 1)}; run edgeshift bench"
    raise BadValue(f"latency of {variant.name}", got, want)
