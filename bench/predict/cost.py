# SPDX-License-Identifier: Apache-2.0
"""What asking costs: one prediction, 10,000 variants, one fit, and reading a network from its file; one thread."""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bench.fleet.load import designs, samples
from bench.fleet.onnx_file import onnx_bytes
from bench.predict.layers import queries
from bench.record import Run, keep, table
from edgeshift.predict import MODELS
from edgeshift.predict.onnx_network import network_of
from edgeshift.predict.samples import Samples

MEMBER = "openvino-t1-b1"
MANY = 10_000
COLUMNS = ["model", "fit_s", "one_ms", "many_s"]
SAYS = (
    f"Seconds to fit on 300 networks of {MEMBER}, ms for one prediction, s for {MANY} variants in one call; networks "
    "already described. Lowest of the repeats: other work on the machine only adds."
)


def lowest(call: Callable[[], object], repeats: int) -> float:
    """Seconds."""
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return min(found)


def main() -> None:
    """All models; a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="macs,count_ridge,stacked/10")
    given = parser.parse_args()
    everything = samples()
    place = everything.devices.index(MEMBER)
    # The target alone: what other members cost is no part of what one device needs.
    alone = replace(everything, cost=everything.cost[:, [place]], devices=(MEMBER,))
    one, many = queries(alone, np.array([0])), repeated(alone)
    rows: list[dict[str, Any]] = []
    for name in given.models.split(","):
        model, _, trees = name.partition("/")
        options = {"trees": int(trees)} if trees else {}
        begin = time.perf_counter()
        fitted = MODELS.make(model, **options).fit(alone, MEMBER)
        fit_s = time.perf_counter() - begin
        fitted.predict(many)
        rows.append(
            {
                "model": model + (f", {options['trees']} trees" if options else ""),
                "fit_s": fit_s,
                "one_ms": 1000 * lowest(lambda fitted=fitted: fitted.predict(one), 200),  # type: ignore[misc]
                "many_s": lowest(lambda fitted=fitted: fitted.predict(many), 5),  # type: ignore[misc]
            }
        )
        print(table([rows[-1]], COLUMNS).splitlines()[-1], flush=True)
    files = [onnx_bytes(design) for design in designs(20)]
    rows.append(
        {
            "model": "describe one ONNX file",
            "one_ms": 1000 * min(lowest(lambda f=f: network_of(f), 3) for f in files),
        }
    )  # type: ignore[misc]
    print(table(rows, COLUMNS))
    findings = [
        f"{r['model']}: one in {r['one_ms']:.3g} ms"
        + (f", {MANY} in {r['many_s']:.3g} s, fit {r['fit_s']:.3g} s." if "many_s" in r else ".")
        for r in rows
    ]
    keep(Run("predict_cost", SAYS, repeats="200 and 5, lowest", spread="none"), rows, findings)


def repeated(everything: Samples) -> Samples:
    """10,000 queries: the fleet's networks, over and over."""
    return queries(everything, np.resize(np.arange(len(everything)), MANY))


if __name__ == "__main__":
    main()
