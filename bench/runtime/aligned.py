# SPDX-License-Identifier: Apache-2.0
"""Latency of a mapped file whose weights lie at multiples of a cache line, against where ONNX Runtime puts them.

    python -m bench.runtime.aligned

Three sessions of one network take turns: mapped as ONNX Runtime writes the file, mapped as we keep it, and one that
owns its weights. The weights' values do not matter for latency, so they are random.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.record import Run, keep, table
from edgeshift.formats import export_onnx
from edgeshift.measure import Protocol, latencies
from edgeshift.models import build, example, resolve
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.backends.shape import Model

NETWORKS = ("resnet8", "resnet20", "resnet56", "vgg11_bn", "vgg16_bn", "mobilenetv2", "densenetbc100_12")
WAYS = ("as ONNX Runtime writes it", "as we keep it", "owned")


class Timed:
    """A model in the form that is timed."""

    threads = 1
    runtime = Onnxruntime().runtime

    def __init__(self, source: Path | bytes) -> None:
        self.model: Model = Onnxruntime().open(source, 1)

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first output."""
        return next(iter(self.model.run({self.model.inputs[0].name: inputs}).values()))


def opened(name: str, folder: Path) -> list[Timed]:
    """One session for each of `WAYS`."""
    ref = resolve(name, classes=10, input_shape=(3, 32, 32))
    onnx, theirs, ours = (folder / way for way in ("onnx", "theirs", "ours"))
    export_onnx(build(ref, seed=0).eval(), example(ref), onnx)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(theirs)
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    Onnxruntime().build(onnx.read_bytes(), ours)
    return [Timed(source) for source in (theirs, ours, onnx.read_bytes())]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=4.0, help="per session")
    asked = parser.parse_args()
    protocol = Protocol(min_repeats=100, min_seconds=asked.seconds / 2, max_seconds=asked.seconds)
    rows = []
    for name in asked.networks:
        with TemporaryDirectory() as folder:
            sessions = opened(name, Path(folder))
            sample = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)
            theirs, ours, owned = latencies(sessions, sample, 1, protocol)
        rows.append(
            {
                "network": name,
                **{f"{way}, ms": f.value for way, f in zip(WAYS, (theirs, ours, owned), strict=True)},
                "spread": max(theirs.spread, ours.spread, owned.spread),
                "faster": round(theirs.value / ours.value, 3),
                "over owned": round(ours.value / owned.value, 3),
            }
        )
    print(table(rows, list(rows[0])))
    faster, over = ([row[name] for row in rows] for name in ("faster", "over owned"))
    findings = [
        f"A mapped file answers {min(faster):.3f} to {max(faster):.3f} times faster with its weights aligned, and "
        f"takes {min(over):.3f} to {max(over):.3f} of the time of a session that owns them."
    ]
    print(findings[0])
    says = "Weights of mapped files at multiples of a cache line, against where ONNX Runtime puts them."
    repeats = f"three sessions in turns, {asked.seconds:g} s each, 1 thread, batch 1"
    keep(Run("runtime_aligned", says, repeats=repeats, spread="interquartile range / median"), rows, findings)


if __name__ == "__main__":
    main()
