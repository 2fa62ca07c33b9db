# SPDX-License-Identifier: Apache-2.0
"""A residual network whose blocks follow a mapping of schemes: cut in torch, written to ONNX, int8 where it says so."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeshift.formats import export_onnx, make_template
from edgeshift.graph import shrink, trace
from edgeshift.sparsity import CRITERIA, PATTERNS

SHARES = ("channel:0.75", "channel:0.5", "channel:0.25")
FLOAT = ("dense", *SHARES, "removed", "n_m:0.5")
INT8 = ("dense:int8", *(f"{s}:int8" for s in SHARES))
BLOCK = (*FLOAT, *INT8)
ENDS = ("dense", "dense:int8")
NOT_EXACT = 1e-4  # largest relative error of a float32 file against torch, as edgeshift.formats asks for

Mapped = Mapping[str, str]


def is_int8(option: str) -> bool:
    """Whether an option asks for int8."""
    return option.endswith(":int8")


@dataclass(frozen=True)
class Builder:
    """Makes networks and files of mappings.

    Attributes:
        parent: The trained network; blocks `layer1.0` ..., between `conv1` and `linear`.
        sample: An input.
        calibration: `(n, channels, height, width)` float32, normalised; what activations' ranges are read from.
    """

    parent: nn.Module
    sample: Tensor
    calibration: NDArray[np.float32]

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks."""
        return tuple(n.removesuffix(".conv1") for n, _ in self.parent.named_modules() if n.endswith(".conv1"))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All places of a mapping, in forward order: the stem, the blocks, the classifier."""
        return ("conv1", *self.blocks, "linear")

    @cached_property
    def options(self) -> tuple[tuple[str, ...], ...]:
        """What each place may become."""
        return (ENDS, *(BLOCK for _ in self.blocks), ENDS)

    @cached_property
    def _traced(self) -> Any:
        return trace(self.parent, (self.sample,))

    @cached_property
    def _template(self) -> Any:
        return make_template(self.parent, self.sample)

    def network(self, mapped: Mapped) -> nn.Module:
        """The parent cut to the mapping; precision and `n_m` change nothing here."""
        masked = deepcopy(self.parent)
        for name in self.blocks:
            block: Any = masked.get_submodule(name)
            for share in [s for s in SHARES if mapped[name].startswith(s)]:
                gone = self._weakest(block.conv1.weight, 1 - float(share.partition(":")[2]))
                with torch.no_grad():
                    for tensor in (block.conv1.weight, block.bn1.weight, block.bn1.bias):
                        tensor[gone] = 0
        small: nn.Module = shrink(masked, self.sample, graph=self._traced).model
        for name in self.removed(mapped):
            stage, _, place = name.rpartition(".")
            blocks: Any = small.get_submodule(stage)
            blocks[int(place)] = blocks[int(place)].downsample
        return small.eval()

    def removed(self, mapped: Mapped) -> list[str]:
        """Blocks that go whole."""
        return [n for n in self.blocks if mapped[n] == "removed"]

    def masks(self, network: nn.Module, mapped: Mapped) -> dict[str, Tensor]:
        """Weight -> bool: 2 of every 4 where the mapping says `n_m:0.5`."""
        found = {}
        for name in [n for n in self.blocks if mapped[n] == "n_m:0.5"]:
            weights = {
                f"{name}.{c}.weight": network.get_parameter(f"{name}.{c}.weight") for c in ("conv1", "conv2")
            }
            criterion, pattern = CRITERIA.make("magnitude"), PATTERNS.make("n_m")
            found |= pattern.masks({n: criterion.score(w.detach()) for n, w in weights.items()}, 0.5)
        return found

    @staticmethod
    def _weakest(weight: Tensor, share: float) -> Tensor:
        scores: Tensor = CRITERIA.make("magnitude").score(weight.detach()).flatten(1).sum(1)
        return scores.argsort()[: round(share * len(scores))]

    def file(self, network: nn.Module, mapped: Mapped) -> bytes:
        """The network as an ONNX file with the mapping's precisions, checked against torch before it is rounded."""
        whole = deepcopy(network)
        for name in self.removed(mapped):  # the template has every block; the graph loses it again below
            stage, _, place = name.rpartition(".")
            blocks: Any = whole.get_submodule(stage)
            blocks[int(place)] = deepcopy(self.parent.get_submodule(name))
        graph = onnx.load_from_string(export_onnx(whole, self.sample, template=self._template).data)
        places = self._places(graph)
        for name in self.removed(mapped):
            leave_out_(graph, [n for n in graph.graph.node if places[n.name] == name])
        exact(graph.SerializeToString(), network, self.calibration[:8])
        rounded = [n.name for n in graph.graph.node if is_int8(mapped[places[n.name]])]
        return quantised(graph, rounded, self.calibration) if rounded else graph.SerializeToString()

    def _places(self, graph: onnx.ModelProto) -> dict[str, str]:
        """Node -> the place it belongs to: that of the last layer before it."""
        found, at = {}, self.names[0]
        for node in graph.graph.node:
            for given in node.input:
                if given.endswith(".weight"):
                    at = given.removesuffix(".weight")
                    at = at if at in self.names else at.rpartition(".")[0]
            found[node.name] = at
        # The average before the classifier has no weight of its own and reads what the last block wrote.
        for node in graph.graph.node:
            if node.op_type in ("ReduceMean", "GlobalAveragePool", "Flatten"):
                found[node.name] = self.names[-1]
        return found


def leave_out_(graph: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Take a residual branch out of the graph; what came in goes on, by the shortcut if it has nodes."""
    way = [n for n in nodes if n.op_type in ("Slice", "Pad")]
    last, comes_in = nodes[-1].output[0], nodes[0].input[0]
    goes_on = way[-1].output[0] if way else comes_in
    for node in nodes:
        if node not in way:
            graph.graph.node.remove(node)
    for node in graph.graph.node:
        for i, given in enumerate(node.input):
            if given == last:
                node.input[i] = goes_on
    read = {given for node in graph.graph.node for given in node.input}
    for tensor in [t for t in graph.graph.initializer if t.name not in read]:
        graph.graph.initializer.remove(tensor)


def exact(file: bytes, network: nn.Module, inputs: NDArray[np.float32]) -> None:
    """Raise unless the file answers as torch does."""
    from edgeshift.formats import open_onnx

    with torch.no_grad():
        right = network(torch.from_numpy(inputs)).numpy()
    error = float(np.abs(open_onnx(file).run(inputs) - right).max() / np.abs(right).max())
    if not error <= NOT_EXACT:
        raise SystemExit(f"file must answer as torch does within {NOT_EXACT}, got {error:.3g}")


def quantised(graph: onnx.ModelProto, nodes: list[str], calibration: NDArray[np.float32]) -> bytes:
    """The graph with these nodes between quantisers: int8 weights by channel, uint8 activations by least and most."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Batches of the calibration images."""

        def __init__(self) -> None:
            self.batches: Iterator[NDArray[np.float32]] = iter(
                np.array_split(calibration, max(1, len(calibration) // 64))
            )

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            """See `CalibrationDataReader`."""
            batch = next(self.batches, None)
            return None if batch is None else {graph.graph.input[0].name: batch}

    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        quantize_static(
            graph,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=nodes,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()
