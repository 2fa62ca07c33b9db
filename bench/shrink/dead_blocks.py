# SPDX-License-Identifier: Apache-2.0
"""Latency of ONNX files of residual networks of which whole blocks are dead, with and without what is left of those.

    python -m bench.shrink.dead_blocks

Every second block loses all its inner channels and is shrunk. `kept`: the file computes what is left, two
convolutions around one channel of zeros; `gone`: the constant that this gives stands in the sum, as in every file we
export. Both and the whole network take turns; weights are random, which latency does not depend on.
"""

import argparse
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from bench.record import Run, keep, table
from edgeshift.formats import export_onnx, open_onnx
from edgeshift.graph import shrink
from edgeshift.measure import Protocol, latencies
from edgeshift.models import build, example, resolve

NETWORKS = ("resnet20", "resnet56")


def killed(model: nn.Module) -> nn.Module:
    """A copy of which the second block of each two, first ones of a stage excepted, has no inner channel."""
    dead = deepcopy(model)
    with torch.no_grad():
        for name, parameter in dead.named_parameters():
            parts = name.split(".")
            if name.startswith("layer") and int(parts[1]) % 2 and parts[2] in ("conv1", "bn1"):
                parameter.zero_()
            elif name.endswith("bn2.bias"):
                parameter.normal_()
    return dead


def row(network: str) -> dict[str, Any]:
    """One network."""
    ref = resolve(network, classes=10, input_shape=(3, 32, 32))
    model, sample = build(ref, seed=0).eval(), example(ref)
    small = shrink(killed(model), sample).model
    with patch("edgeshift.formats.onnx_file.silence_"):
        files = [export_onnx(m, sample).data for m in (model, small)]
    files.append(export_onnx(small, sample).data)
    sessions = [open_onnx(file, 1) for file in files]
    one = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)
    one_way, other = (s.run(one).astype(np.float64) for s in sessions[1:])
    far = float(np.abs(one_way - other).max() / np.abs(one_way).max())
    whole, kept, gone = latencies(sessions, one, 1, Protocol())
    return {
        "network": network,
        "whole_ms": whole.value,
        "kept_ms": kept.value,
        "gone_ms": gone.value,
        "spread": max(f.spread for f in (whole, kept, gone)),
        "faster": round(kept.value / gone.value, 3),
        "difference": far,
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
        f"{r['network']}: {r['faster']} times faster without what dead blocks leave, "
        f"{r['whole_ms'] / r['gone_ms']:.3f} times faster than the whole network; answers differ by at most "
        f"{r['difference']:.1g} of the largest."
        for r in rows
    ]
    says = "ONNX files of residual networks with dead blocks, with and without what is left of them."
    keep(
        Run("shrink_dead_blocks", says, repeats="in turns", spread="interquartile range / median"),
        rows,
        findings,
    )


if __name__ == "__main__":
    main()
