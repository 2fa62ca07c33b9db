# SPDX-License-Identifier: Apache-2.0
"""The CIFAR-10 portfolio of ResNet-20 from pretrained weights: accuracy and ONNX Runtime latency of every variant.

    python -m bench.main_job.cifar_resnet20 DIR

DIR is a finished build (see the command in the record). Latency is measured again, all variants in turns. The
parent's authors trained on all 50,000 training images, our validation images among them, so accuracy on validation
flatters every variant alike; the front is chosen on it all the same, and the test set is only reported.
"""

import argparse
from pathlib import Path

from bench.record import Run, keep, table
from edgeshift.core.progress import Silent
from edgeshift.derive.remeasure import bench
from edgeshift.portfolio import Portfolio


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    portfolio = bench(
        Portfolio.open(parser.parse_args().folder), batch_sizes=(1, 32), memory=False, progress=Silent()
    )
    front = {v.id for v in portfolio.front()}
    dense = portfolio.variants[0]
    rows = []
    for v in portfolio:
        latency, many = v.measured("latency"), v.measured("latency", batch_size=32)
        rows.append(
            {
                "variant": v.name,
                "front": v.id in front,
                "test": v.accuracy["test"],
                "validation": v.accuracy["validation"],
                "parameters": v.parameters,
                "macs": v.macs,
                "fewer_macs": round(dense.macs / v.macs, 2),
                "latency_ms": latency.value,
                "latency_spread": latency.spread,
                "faster": round(dense.measured("latency").value / latency.value, 2),
                "latency_32_ms": many.value,
                "proof": v.proof.max_error_float64,
            }
        )
    print(table(rows, list(rows[0])))
    least = max(r["fewer_macs"] for r in rows)
    keep(
        Run(
            "cifar_resnet20",
            "Accuracy and ONNX Runtime latency of a ResNet-20 portfolio on CIFAR-10, from pretrained weights.",
            repeats="latency: medians, variants in turns",
            spread="interquartile range over median",
        ),
        rows,
        [
            f"{len(front)} of {len(rows)} variants are on the front (target: at least 6).",
            f"The smallest has {least} times fewer MACs (target: at least 4).",
            "Validation images were seen by the parent's authors in training: accuracy there is flattered.",
        ],
    )


if __name__ == "__main__":
    main()
