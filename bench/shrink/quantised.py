# SPDX-License-Identifier: Apache-2.0
"""Quantised ONNX files with dead channels: what goes, is it exact, is it faster?

    python -m bench.shrink.quantised

Of every batch norm a share of the channels gets scale and shift zero. Either the network is exported and ONNX Runtime's
own tool quantises it, 8 bits, per channel, weights in 7 so that no kernel saturates. Or torch prepares it for training
with quantisation, 8 bits, and exports it so: the file then holds weights as floats and quantises them itself. Weights
are random, on which latency does not depend. `exact`: both files give equal bits on random images in ONNX Runtime's
integer kernels; `step`: the largest difference there, over the largest output.
"""

import argparse
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn
from torch.ao import quantization

from bench.record import Run, keep, table
from edgeshift.core.values import ModelRef
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


def sparse(network: str) -> tuple[nn.Module, ModelRef]:
    """A network with dead channels."""
    ref, draws = resolve(network, classes=10, input_shape=(3, 32, 32)), np.random.default_rng(0)
    model = build(ref, seed=0).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                dead = torch.from_numpy(draws.random(module.num_features) < SHARE)
                module.weight[dead] = 0
                module.bias[:] = torch.where(dead, 0.0, 0.1)
    return model, ref


def afterwards(network: str, folder: Path) -> bytes:
    """The file of a network that was quantised when it was finished."""
    model, ref = sparse(network)
    draws = np.random.default_rng(0)
    whole, small = folder / "float.onnx", folder / "quantised.onnx"
    export_onnx(model, example(ref), whole)
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(
        whole, small, Noise(draws), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True, **kinds
    )
    return small.read_bytes()


def in_training(network: str, folder: Path) -> bytes:
    """The file of a network in training with quantisation, as torch exports it."""
    del folder
    model, ref = sparse(network)
    numbers = {"dtype": torch.quint8, "quant_min": 0, "quant_max": 255}
    steps = {
        "dtype": torch.qint8,
        "quant_min": -128,
        "quant_max": 127,
        "qscheme": torch.per_channel_symmetric,
    }
    # Constructors of torch.ao without types.
    model.qconfig = quantization.QConfig(  # type: ignore[assignment]
        activation=quantization.FakeQuantize.with_args(
            observer=quantization.MovingAverageMinMaxObserver, **numbers
        ),
        weight=quantization.FakeQuantize.with_args(
            observer=quantization.MovingAveragePerChannelMinMaxObserver, **steps
        ),
    )
    prepared = quantization.prepare_qat(model.train())
    draws = np.random.default_rng(0)
    with torch.no_grad():
        for _ in range(4):
            prepared(torch.from_numpy(images(draws, 8)))
    prepared.eval().apply(quantization.disable_observer)
    file = BytesIO()
    names = {"input_names": ["input"], "output_names": ["output"]}
    open_axes = {"input": {0: "n"}, "output": {0: "n"}}
    torch.onnx.export(
        prepared, (example(ref),), file, opset_version=17, dynamo=False, dynamic_axes=open_axes, **names
    )
    return file.getvalue()


MADE = {"afterwards": afterwards, "in training": in_training}


def row(network: str, quantised: str) -> dict[str, Any]:
    """One network."""
    with TemporaryDirectory() as folder:
        file = MADE[quantised](network, Path(folder))
    shrunk = shrink_onnx(file)
    assert shrunk.proof is not None
    sessions = [open_onnx(data, 1) for data in (file, shrunk.to_bytes())]
    several = images(np.random.default_rng(1), 32)
    before, after = (s.run(several) for s in sessions)
    whole, small = latencies(sessions, several[:1], 1, Protocol())
    counts = shrunk.report.before, shrunk.report.after
    return {
        "network": network,
        "quantised": quantised,
        "exact": bool(np.array_equal(before, after)),
        "step": float(np.abs(before - after).max() / np.abs(before).max()),
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
    rows = [row(network, how) for how in MADE for network in parser.parse_args().networks]
    print(table(rows, list(rows[0])))
    findings = [
        f"{r['network']}, quantised {r['quantised']}: {r['fewer_parameters']} times fewer parameters, "
        f"{r['fewer_macs']} times fewer multiply-accumulates, {r['smaller_file']} times smaller, "
        f"{r['faster']} times faster; float64 error {r['float64_error']:.1g}; "
        + ("equal bits" if r["exact"] else f"{r['step']:.3f} apart")
        + " in integer kernels."
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
