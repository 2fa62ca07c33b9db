# SPDX-License-Identifier: Apache-2.0
"""The door for ONNX: a sparse model from any framework in, a smaller one out, with the proof. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from edgeshift.core.values import Proof
from edgeshift.graph.analyse import Verdict, analyse
from edgeshift.graph.channels import Array
from edgeshift.graph.fronts.onnx import OnnxTrace, trace_onnx
from edgeshift.graph.onnx_cut import checked, cut_onnx
from edgeshift.graph.onnx_model import read, settle, try_out
from edgeshift.graph.onnx_proof import Pair, prove_onnx, widen
from edgeshift.graph.onnx_sizes import Spelled, spell
from edgeshift.graph.onnx_stored import stored
from edgeshift.graph.report import Counts, Report
from edgeshift.graph.tally import report_of

# Seconds after which the proof begins no further kind of input.
PROOF_SECONDS = 120.0


@dataclass(frozen=True)
class ShrunkOnnx:
    """An ONNX model without its dead channels.

    Attributes:
        model: Smaller, with the inputs and outputs of the original.
        report: What went and why.
        proof: What was tried to show that nothing changed; None where `prove_it=False` was asked.
    """

    model: ModelProto
    report: Report
    proof: Proof | None

    def to_bytes(self) -> bytes:
        """The file's content; equal models give equal bytes."""
        return bytes(self.model.SerializeToString(deterministic=True))


def shrink_onnx(
    model: Path | bytes | ModelProto,
    *,
    example: Mapping[str, Array] | None = None,
    prove_it: bool = True,
    tolerance: float = 1e-9,
    proof_seconds: float = PROOF_SECONDS,
) -> ShrunkOnnx:
    """Remove every channel that does nothing, and prove that the function is the same.

    Args:
        model: A file, its bytes, or a parsed model of opset 11 or later, without external data. Not changed.
            Initialisers that are also listed as inputs are taken as fixed.
        example: Input name -> array, where an axis other than the first is open and cannot be guessed.
        prove_it: Compare both models; switch off only where the caller does so itself.
        tolerance: On the largest difference over the largest output in float64.
        proof_seconds: After this time the proof begins no further kind of input; it names those it did.

    Raises:
        BadValue: If it is no such file.
        Untraceable: If ONNX Runtime cannot run it.
        NotExact: If the two models differ; names the first tensor that does.
    """
    original = read(model)
    known = stored(original)
    settled = settle(known)
    trace = trace_onnx(settled, try_out(settled, example))
    verdict, spelled = decide(trace)
    ranks = {o.name: len(trace.trial.shapes[o.name]) for o in original.graph.output}
    small = checked(cut_onnx(trace, verdict, spelled), ranks)
    proof = None
    if prove_it:
        wide = Pair(widen(known), cut_onnx(trace, verdict, spelled, widen(settled.model)))
        proof = prove_onnx(Pair(original, small), wide, trace, verdict, tolerance, proof_seconds)
    return ShrunkOnnx(small, _report(trace, verdict, small), proof)


def decide(trace: OnnxTrace) -> tuple[Verdict, Spelled]:
    """Who stays, and the sizes to rewrite; a size the file cannot change keeps its channels."""
    pinned: frozenset[int] = frozenset()
    while True:
        verdict = analyse(trace.graph, pinned=pinned)
        spelled = spell(trace, verdict)
        if spelled.misfits <= pinned:
            return verdict, spelled
        pinned |= spelled.misfits


def _report(trace: OnnxTrace, verdict: Verdict, small: ModelProto) -> Report:
    """The report, with parameters as the two files store them."""
    report = report_of(verdict)
    copies = trace.settled.copies
    trained = {v.param for v in trace.graph.values if v.param and v.trained}
    added = {t.name for t in small.graph.initializer} - set(trace.settled.tensors)
    sizes = {t.name: _size(tuple(t.dims)) for t in small.graph.initializer}
    before = sum(_size(v.shape) for v in trace.graph.values if v.param in trained - set(copies))
    grown = {n for n in added if n.endswith(".bias")}
    after = sum(size for name, size in sizes.items() if name in trained | grown)
    return replace(report, before=_with(report.before, before), after=_with(report.after, after))


def _with(counts: Counts, parameters: int) -> Counts:
    return replace(counts, parameters=parameters)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
