# SPDX-License-Identifier: Apache-2.0
"""A portfolio whose variants share one set of weights, as a portfolio of one nested file."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeshift.core.errors import BadPortfolio, BadWeights, NotExact
from edgeshift.core.progress import Progress, Silent
from edgeshift.core.recipe import Recipe, canonical
from edgeshift.core.values import ChannelGroup, Proof, Variant, to_json
from edgeshift.derive.folder import check_out, scratch
from edgeshift.derive.parent import Parent
from edgeshift.formats import make_template, open_onnx, read_sparse, read_tensors, weight_bytes
from edgeshift.formats.nested import Member, axes_of, open_nested, write_nested
from edgeshift.formats.nested_graph import bare, graph_of, joined, split
from edgeshift.formats.nested_model import plan_name
from edgeshift.formats.nested_onnx import JOINED, VIEWS, WHOLE, graph_name, whole_onnx
from edgeshift.graph import Report, channel_groups
from edgeshift.models import build as build_model
from edgeshift.portfolio import Draft, Golden, Portfolio

State = Mapping[str, Tensor]
Kept = dict[str, tuple[NDArray[np.int64], ...]]


@dataclass(frozen=True)
class Cut:
    """One variant in the order of the nested file.

    Attributes:
        model: Shrunk.
        member: Its tensors, and where they lie in the largest variant's.
        facts: Shape plan and tied names.
        report: Sizes.
        proof: That shrinking was exact.
        golden: Input and right answer, from the masked model in float64.
    """

    model: nn.Module
    member: Member
    facts: bytes
    report: Report
    proof: Proof
    golden: bytes


def nest(source: Portfolio, out: Path, progress: Progress | None = None) -> Portfolio:
    """The same variants from one file.

    Channels are reordered, each group by how many variants keep the channel, so that every variant is a prefix of
    the largest. Each variant is shrunk again from its masked weights in that order, proved exact, and compared with
    what the file gives back.

    Args:
        source: Its variants keep whole channels of one set of weights, each one's among the next larger one's.
            Batch norm and biases may differ.
        out: New or empty folder.
        progress: Who is told how far it is.

    Raises:
        BadPortfolio: If there is no variant, or one lacks its masked weights.
        BadWeights: If the variants are not nested; names the first tensor or group.
        NotExact: If a variant from the file answers differently.
        FolderTaken: If `out` holds something else.
    """
    progress = progress or Silent()
    check_out(out, resume=False)
    variants = sorted(source.variants, key=lambda v: -v.parameters)
    for variant in variants:
        if "masked" not in variant.files:
            raise BadPortfolio(
                f"variant {variant.name} must have masked weights, got {sorted(variant.files)}"
            )
    if not variants:
        raise BadPortfolio(f"{source.path} must hold a variant, got none")
    parent = Parent.of(build_model(source.model), source.model, 1)
    groups = channel_groups(parent.model, parent.sample)
    with progress.task("nesting", len(variants) + 2) as step:
        states = [masked(source, variant) for variant in variants]
        alive = [[living(state, group) for group in groups] for state in states]
        orders = [order([sets[i] for sets in alive], g, variants) for i, g in enumerate(groups)]
        step()
        cuts: list[Cut] = []
        for state, sets, variant in zip(states, alive, variants, strict=True):
            moved = arranged(state, groups, orders, parent.model)
            there = kept(moved, groups, [s[o] for s, o in zip(sets, orders, strict=True)])
            cuts.append(cut(parent, moved, there, variant.name))
            step(note=variant.name)
        found = stored(source, out, variants, cuts, parent.sample)
        step()
    return found


def largest_bytes(nested: Portfolio) -> int:
    """Bytes of the numbers of the largest variant of a nested portfolio alone."""
    file = open_nested(nested.path_of(nested.variants[0], "nested"))
    return sum(array.nbytes for array in file.tensors(0).values())


def masked(source: Portfolio, variant: Variant) -> dict[str, Tensor]:
    """The state that a variant was shrunk from, with zeros where it was masked."""
    arrays, _ = read_sparse(source.read(variant, "masked"))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def living(state: State, group: ChannelGroup) -> NDArray[np.bool_]:
    """`(channels,)`, which channels of a group have a row that is not zero."""
    found = np.zeros(group.channels, np.bool_)
    for name, rows in group.rows.items():
        filled = (state[name].reshape(len(state[name]), -1) != 0).any(dim=1).numpy()
        found |= filled[rows].any(axis=1)
    return found


def order(
    alive: Sequence[NDArray[np.bool_]], group: ChannelGroup, variants: Sequence[Variant]
) -> NDArray[np.int64]:
    """Channels of a group, those that most variants keep first.

    Raises:
        BadWeights: If a variant keeps a channel that the next larger one lacks.
    """
    for larger, smaller, variant in zip(alive, alive[1:], variants[1:], strict=False):
        if (smaller & ~larger).any():
            raise BadWeights(
                f"channels of {group.name} in {variant.name} must be among those of the next larger variant, "
                f"got channel {int(np.flatnonzero(smaller & ~larger)[0])}"
            )
    return np.argsort(-np.sum(alive, axis=0), kind="stable")


def arranged(
    state: State, groups: Sequence[ChannelGroup], orders: Sequence[NDArray[np.int64]], model: nn.Module
) -> dict[str, Tensor]:
    """The same network with the channels of each group in another order."""
    moved = {name: tensor.clone() for name, tensor in state.items()}
    for group, by in zip(groups, orders, strict=True):
        for name, rows in group.rows.items():
            for other in (name, *statistics(model, name)):
                moved[other][rows.reshape(-1)] = state_rows(moved[other], rows[by].reshape(-1))
        for name, columns in group.columns.items():
            moved[name][:, columns.reshape(-1)] = moved[name][:, columns[by].reshape(-1)].clone()
    return moved


def state_rows(tensor: Tensor, rows: NDArray[np.int64]) -> Tensor:
    """A copy of some rows."""
    return tensor[torch.from_numpy(rows)].clone()


def statistics(model: nn.Module, name: str) -> list[str]:
    """Buffers that go with the scale of a norm: its mean and variance."""
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    if leaf != "weight" or not isinstance(module, nn.modules.batchnorm._NormBase):
        return []
    return [f"{owner}.{n}".lstrip(".") for n, b in module.named_buffers(recurse=False) if b.ndim]


def kept(state: State, groups: Sequence[ChannelGroup], alive: Sequence[NDArray[np.bool_]]) -> Kept:
    """Name -> for each axis the positions that are left without the dead channels."""
    gone: dict[tuple[str, int], list[NDArray[np.int64]]] = {}
    for group, living_ones in zip(groups, alive, strict=True):
        for axis, members in ((0, group.rows), (1, group.columns)):
            for name, places in members.items():
                gone.setdefault((name, axis), []).append(places[~living_ones].reshape(-1))
    return {
        name: tuple(
            np.setdiff1d(np.arange(size), np.concatenate(gone.get((name, axis), [np.zeros(0, np.int64)])))
            for axis, size in enumerate(tensor.shape)
        )
        for name, tensor in state.items()
    }


def cut(parent: Parent, state: State, there: Kept, name: str) -> Cut:
    """A variant shrunk in the new order.

    Raises:
        BadWeights: If it did not lose whole channels.
        NotExact: If the shrunk model computes something else.
    """
    for scale in list(there):
        for buffer in statistics(parent.model, scale):
            there[buffer] = there[scale]
    shrunk = parent.shrunk(state)
    tensors, facts = read_tensors(weight_bytes(shrunk.model, shrunk.plan))
    if shrunk.proof is None:
        raise NotExact("a variant must be proved exact, got no proof")
    for tensor, array in tensors.items():
        wanted = tuple(len(positions) for positions in there[tensor])
        if array.shape != wanted:
            raise BadWeights(
                f"{name} must be its largest variant without whole channels, got tensor {tensor} of shape "
                f"{array.shape} instead of {wanted}"
            )
    with torch.inference_mode():
        answer = deepcopy(parent.model).double()(parent.sample.double())
    return Cut(
        model=shrunk.model,
        member=Member(name, tensors, there),
        facts=canonical({"plan": facts["plan"], "tied": facts["tied"]}).encode(),
        report=shrunk.report,
        proof=shrunk.proof,
        golden=Golden(parent.sample.numpy(), answer.numpy()).to_bytes(),
    )


def stored(
    source: Portfolio, out: Path, variants: Sequence[Variant], cuts: Sequence[Cut], sample: Tensor
) -> Portfolio:
    """The portfolio of the nested file."""
    members = relative([one.member for one in cuts])
    axes, own = axes_of(members)
    files: dict[str, bytes] = {}
    template = make_template(cuts[0].model, sample)
    graphs = [graph_of(one.model, sample, template) for one in cuts]
    kinds = {name: array.dtype for name, array in members[0].tensors.items() if name in own}
    if (together := joined(graphs, axes, dict(sorted(kinds.items())))) is not None:
        files[JOINED] = together
    for number, (one, graph) in enumerate(zip(cuts, graphs, strict=True)):
        files[graph_name(WHOLE, number)] = bare(graph, frozenset(axes))
        data, names = split(graph, axes, own, number)
        files[graph_name(VIEWS, number)] = data
        files[graph_name(VIEWS, number) + ".names"] = "\n".join(names).encode()
        files[plan_name(number)] = one.facts
    found = Portfolio.create(out, source.model, source.data, {**source.recipe, "nested": 1})
    with scratch(out) as folder:
        part = folder / "nested"
        write_nested(part, members, files)
        check(part, cuts)
        for variant, one in zip(variants, cuts, strict=True):
            found = found.add(draft(variant, one), {"nested": part, "golden": one.golden})
    return found


def relative(members: Sequence[Member]) -> list[Member]:
    """The members with positions in the largest variant instead of in the whole network."""
    largest = members[0].kept
    return [
        Member(
            m.name,
            m.tensors,
            {n: tuple(map(np.searchsorted, largest[n], parts)) for n, parts in m.kept.items()},
        )
        for m in members
    ]


def check(path: Path, cuts: Sequence[Cut]) -> None:
    """Nothing, if every variant comes back bit for bit and answers right.

    Raises:
        NotExact: If one does not.
    """
    nested = open_nested(path)
    for number, one in enumerate(cuts):
        got = nested.tensors(number)
        if any(not np.array_equal(got[n], array) for n, array in one.member.tensors.items()):
            raise NotExact(f"{one.member.name} must come back bit for bit, got other numbers")
        golden = Golden.from_bytes(one.golden)
        error = golden.error(open_onnx(whole_onnx(nested, number)))
        if not error <= golden.tolerance:
            raise NotExact(
                f"relative error of {one.member.name} must be at most {golden.tolerance}, got {error:.3g}"
            )


def draft(variant: Variant, one: Cut) -> Draft:
    """What the manifest says of a nested variant: its accuracy and latency are those of the same network."""
    size = one.report.after
    return Draft(
        name=variant.name,
        recipe={**variant.recipe, "nest": to_json(Recipe("nested", 1, {}))},
        accuracy=variant.accuracy,
        parameters=size.parameters,
        macs=size.macs,
        sparsity=variant.sparsity,
        widths=size.widths,
        measurements=tuple(m for m in variant.measurements if m.quantity != "file_size"),
        proof=one.proof,
    )
