# SPDX-License-Identifier: Apache-2.0
"""Quantised ONNX files with dead channels: what goes, is it exact, is it faster?

    python -m bench.shrink.quantised

Of every batch norm a share of the channels gets scale and shift zero; the network is exported and ONNX Runtime's own
tool quantises it, 8 bits, per channel, weights in 7 so that no kernel saturates. Weights are random, on which latency
does not depend. `exact`: both files give equal bits on random images in ONNX Runtime's integer kernels.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from bench.record import Run, keep, table
from edgeshift.formats import export_onnx, open_onnx
from edgeshift.graph import shrink_onnx
from edgeshift.measure import Protocol, latencies
from edgeshift.models import build, example, resolve

NETWORKS = ("resnet20", "vgg11_bn", "mobilenetv2", "squeezenet")
SHARE = 0.4


class Noise(CalibrationDataReader):  # type: ignore[misc]  # has no types
    """Random images to set scales by."""

    def __init__(self, draws: np.random.Generator) -> None:
        self.batches: Iterator[dict[str, Any]] = iter([{"input": images(draws, 8)} for _ in range(4)])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch."""
        return next(self.batches, None)


def images(draws: np.random.Generator, count: int) -> Any:
    """`(count, 3, 32, 32)`, float32."""
    return draws.standard_normal((count, 3, 32, 32), dtype=np.float32)


def quantised(network: str, folder: Path) -> bytes:
    """The file of a network with dead channels."""
    ref, draws = resolve(network, classes=10, input_shape=(3, 32, 32)), np.random.default_rng(0)
    model = build(ref, seed=0).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                dead = torch.from_numpy(draws.random(module.num_features) < SHARE)
                module.weight[dead] = 0
                module.bias[:] = torch.where(dead, 0.0, 0.1)
    whole, small = folder / "float.onnx", folder / "quantised.onnx"
    export_onnx(model, example(ref), whole)
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(
        whole, small, Noise(draws), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True, **kinds
    )
    return small.read_bytes()


def row(network: str) -> dict[str, Any]:
    """One network."""
    with TemporaryDirectory() as folder:
        file = quantised(network, Path(folder))
    shrunk = shrink_onnx(file)
    assert shrunk.proof is not None
    sessions = [open_onnx(data, 1) for data in (file, shrunk.to_bytes())]
    several = images(np.random.default_rng(1), 32)
    before, after = (s.run(several) for s in sessions)
    whole, small = latencies(sessions, several[:1], 1, Protocol())
    counts = shrunk.report.before, shrunk.report.after
    return {
        "network": network,
        "exact": bool(np.array_equal(before, after)),
        "float64_error": shrunk.proof.max_error_float64,
        "fewer_parameters": round(counts[0].parameters / counts[1].parameters, 2),
        "fewer_macs": round(counts[0].macs / counts[1].macs, 2),
        "smaller_file": round(len(file) / len(shrunk.to_bytes()), 2),
        "whole_ms": whole.value,
        "small_ms": small.value,
        "faster": round(whole.value / small.value, 2),
        "spread": max(whole.spread, small.spread),
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    rows = [row(network) for network in parser.parse_args().networks]
    print(table(rows, list(rows[0])))
    findings = [
        f"{r['network']}: {r['fewer_parameters']} times fewer parameters, {r['fewer_macs']} times fewer "
        f"multiply-accumulates, {r['smaller_file']} times smaller, {r['faster']} times faster; "
        f"{'equal bits' if r['exact'] else 'not equal'} in integer kernels, float64 error {r['float64_error']:.1g}."
        for r in rows
    ]
    says = f"Quantised ONNX files, {SHARE:.0%} of the channels of every batch norm dead."
    keep(
        Run("shrink_quantised", says, repeats="in turns", spread="interquartile range / median"),
        rows,
        findings,
    )


if __name__ == "__main__":
    main()
