# SPDX-License-Identifier: Apache-2.0
"""Cut a copy of the user's module to the verdict; the class, and all that is not cut, stays."""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeshift.core.shape_plan import ShapePlan
from edgeshift.core.stand_ins import OpenAttention, stand_in_
from edgeshift.graph.analyse import Verdict
from edgeshift.graph.channels import Array
from edgeshift.graph.modules import Named, named_modules, tensors_of

# Numbers that lie on the desk at a time: few enough to stay in the cache.
DESK = 1 << 17
ATOMS = {int, float, bool, str, tuple, type(None)}
DICTS = {dict, OrderedDict, set, list}
# Layers of torch that hold nothing but tensors, plain values and layers.
PLAIN = {
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.ReLU, nn.ReLU6,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Identity, nn.Dropout, nn.GELU, nn.SiLU,
    nn.LayerNorm, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.MultiheadAttention,
}  # fmt: skip


def cut(model: nn.Module, verdict: Verdict) -> tuple[nn.Module, ShapePlan]:
    """A smaller copy of the model and what changed.

    Args:
        model: The traced model, in any float dtype. Not changed.
        verdict: Who stays.

    Returns:
        The copy, contiguous in memory, and its shape plan.
    """
    inside = named_modules(model)
    tensors = tensors_of(inside)
    fresh = _new_tensors(tensors, verdict)
    memo: dict[int, Any] = {}
    for name, tensor in fresh.items():
        if name in tensors:
            old = tensors[name]
            is_parameter = isinstance(old, nn.Parameter)
            memo[id(old)] = nn.Parameter(tensor, requires_grad=old.requires_grad) if is_parameter else tensor
    cuts = set(memo)
    small = copy_module(model, memo, inside)
    copies = _copies(inside, memo, small)
    for name, tensor in fresh.items():
        if name not in tensors:  # a bias the layer did not have
            owner, _, leaf = name.rpartition(".")
            copies[owner].register_parameter(leaf, nn.Parameter(tensor))
    attributes = _attributes(inside, copies, verdict, cuts)
    stand_ins = [n for n, m in inside if isinstance(m, OpenAttention)]
    for name, widths in fit_attention(verdict, stand_ins).items():
        attributes.setdefault(name, {}).update(widths)
    for module_name, values in attributes.items():
        for key, value in values.items():
            object.__setattr__(copies[module_name], key, value)  # numbers need none of torch's own care
    shapes = {n: tuple(t.shape) for n, t in fresh.items() if n not in tensors or t.shape != tensors[n].shape}
    listed = {
        m: {k: list(v) if isinstance(v, tuple) else v for k, v in a.items()} for m, a in attributes.items()
    }
    return small, ShapePlan(shapes, listed, tuple(stand_ins))


def exact_copy(small: nn.Module, model: nn.Module, verdict: Verdict) -> nn.Module:
    """The cut model with every number that the cut computed in float64, where rounding hides nothing.

    Args:
        small: What `cut` made; all other tensors are shared with it, since a selection does not round.
        model: What it was cut from.
        verdict: Who stays.
    """
    made = _new_tensors(tensors_of(named_modules(model)), verdict, wide=True)
    memo: dict[int, Any] = {}
    for name, tensor in tensors_of(named_modules(small)).items():
        memo[id(tensor)] = nn.Parameter(made[name], requires_grad=False) if name in made else tensor
    return copy_module(small, memo)


def opened(model: nn.Module, names: list[str]) -> nn.Module:
    """A copy that shares all parameters but those of the attention modules it opens; see `OpenAttention`."""
    copy = copy_module(model, {id(t): t for t in (*model.parameters(), *model.buffers())})
    for name in names:
        stand_in_(copy, name)
    return copy


def fit_attention(verdict: Verdict, names: list[str]) -> dict[str, dict[str, int]]:
    """Heads and widths of every opened attention module after the cut, and only those that change."""
    found = {}
    for name in names:
        inside = [n for n in verdict.graph.nodes if n.module == name and n.kind == "reshape"]
        heads = [n.outputs[0] for n in inside if n.attributes.get("spelled")][:3]  # queries, keys, values
        q, _, v = (verdict.size(number)[-2:] for number in heads)
        old = verdict.graph.shape(heads[0])[-2:]
        if (*q, v[1]) != (*old, old[1]):
            found[name] = {"num_heads": q[0], "qk_width": q[1], "v_width": v[1]}
    return found


def copy_module(
    model: nn.Module, memo: dict[int, Any] | None = None, inside: Named | None = None
) -> nn.Module:
    """A deep copy, also of modules that hold computed tensors, as torch's own pruning masks do.

    Args:
        model: Not changed.
        memo: id of an object -> what stands for it in the copy.
        inside: Its `named_modules`, if they are there.
    """
    known = memo if memo is not None else {}
    inside = named_modules(model) if inside is None else inside
    for _, module in inside:
        for value in vars(module).values():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                known[id(value)] = value.detach().clone()
    for _, module in inside:
        kind: Any = type(module)
        if _is_plain(kind):
            _copy(module, known)
    return _copy(model, known)


def _copies(inside: Named, memo: Mapping[int, Any], small: nn.Module) -> dict[str, nn.Module]:
    """Name -> what a copy made of each module."""
    found = {name: memo.get(id(module)) for name, module in inside}
    return dict(named_modules(small)) if None in found.values() else found  # type: ignore[return-value]  # none is None


@cache
def _is_plain(kind: Any) -> bool:
    """Whether a class of modules says nothing of its own about copies."""
    names = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__deepcopy__")
    return kind in PLAIN or all(getattr(kind, n, None) == getattr(nn.Module, n, None) for n in names)


def _copy(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy of a module; `copy.deepcopy` takes ten times as long over its many empty dicts."""
    if id(module) in memo:
        known: nn.Module = memo[id(module)]
        return known
    kind: Any = type(module)
    if not _is_plain(kind):
        other: nn.Module = copy.deepcopy(module, memo)
        return other
    fresh: nn.Module = kind.__new__(kind)
    memo[id(module)] = fresh
    held = module.__dict__
    state = fresh.__dict__
    state.update(held)
    for name, value in held.items():
        what = type(value)
        if what in ATOMS:
            continue
        if what in DICTS and not value:
            state[name] = what()
        elif name == "_compiled_call_impl":
            del state[name]  # as torch's own copy does
        elif name == "_modules":
            state[name] = what([(k, m if m is None else _copy(m, memo)) for k, m in value.items()])
        elif name in ("_parameters", "_buffers"):
            state[name] = what([(k, t if t is None else _copy_tensor(t, memo)) for k, t in value.items()])
        else:
            state[name] = copy.deepcopy(value, memo)
    return fresh


def _copy_tensor(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """A deep copy of a parameter or buffer; what is no plain tensor of its own memory is left to torch."""
    if id(tensor) in memo:
        known: Tensor = memo[id(tensor)]
        return known
    kind = type(tensor)
    whole = kind is nn.Parameter or (
        kind is Tensor and tensor.is_leaf and tensor.untyped_storage().nbytes() == tensor.nbytes
    )
    if not whole or tensor.is_sparse or tensor.is_quantized or vars(tensor):
        return copy.deepcopy(tensor, memo)
    made = tensor.detach().clone()
    if kind is nn.Parameter:
        made = nn.Parameter(made, requires_grad=tensor.requires_grad)
    memo[id(tensor)] = made
    return made


def _new_tensors(tensors: Mapping[str, Tensor], verdict: Verdict, *, wide: bool = False) -> dict[str, Tensor]:
    """Every parameter and buffer that changes, and every bias that comes new.

    With `wide` only those whose numbers are computed, in float64.
    """
    fresh: dict[str, Tensor] = {}
    graph, edits = verdict.graph, verdict.edits
    desk = Desk()
    rows: dict[str, list[Array | None]] = {}
    for number, value in enumerate(graph.values):
        if not value.param:
            continue
        vectors = verdict.ties.labels[number].axes
        index = rows[value.param] = [None if v is None else verdict.picked(v) for v in vectors]
        grid = edits.grouped.get(number)
        columns, factor, shift = (
            edits.columns.get(number, []),
            edits.rows.get(number),
            edits.shifts.get(number),
        )
        computed = bool(columns) or factor is not None or shift is not None
        if not computed and (wide or (grid is None and all(i is None for i in index))):
            continue
        tensor = tensors[value.param].detach()
        if factor is not None:
            scale = torch.from_numpy(factor).reshape([-1] + [1] * (tensor.dim() - 1))
            tensor = (tensor.double() * scale).to(torch.float64 if wide else tensor.dtype)
        if shift is not None:
            tensor = (tensor.double() + torch.from_numpy(shift)).to(torch.float64 if wide else tensor.dtype)
        fresh[value.param] = _select(tensor, index, grid, columns, desk, wide=wide)
    for number, positions in edits.tables.items():
        if not wide:
            name = graph.values[number].param
            fresh[name] = torch.from_numpy(positions).to(tensors[name].dtype)
    for position, delta in edits.bias.items():
        name, bias = _new_bias(tensors, verdict, position, delta, rows)
        weight = graph.nodes[position].inputs[1]
        assert weight is not None
        # A weight made of other parameters has no tensor of its own.
        like = tensors[graph.values[weight].param or name]
        fresh[name] = bias if wide else bias.to(like.dtype)
    return fresh


@dataclass
class Desk:
    """Where rows lie for a moment before their columns are picked.

    Memory that was never written to costs more than the copy itself, so one piece serves all tensors of a cut.

    Attributes:
        space: `(n,)`, by dtype.
    """

    space: dict[torch.dtype, Tensor] = field(default_factory=dict)

    def block(self, tensor: Tensor, rows: Array, columns: Array) -> Tensor:
        """A fresh tensor of these rows and columns.

        Args:
            tensor: `(rows, columns, *taps)`, contiguous.
            rows: `(r,)`, ascending positions.
            columns: `(c,)`, ascending positions.
        """
        width = tensor[0].numel() if len(tensor) else 0
        first, second = torch.from_numpy(rows), torch.from_numpy(columns)
        if width == 0 or len(rows) * width <= DESK:
            return tensor.index_select(0, first).index_select(1, second)
        step = max(1, DESK // width)
        space = self.space.get(tensor.dtype)
        if space is None or len(space) < step * width:
            space = self.space[tensor.dtype] = tensor.new_empty(max(DESK, step * width))
        made = tensor.new_empty((len(rows), len(columns), *tensor.shape[2:]))
        for start in range(0, len(rows), step):
            some = first[start : start + step]
            here = space[: len(some) * width].view(len(some), *tensor.shape[1:])
            torch.index_select(tensor, 0, some, out=here)
            torch.index_select(here, 1, second, out=made[start : start + step])
        return made


def _select(
    tensor: Tensor,
    index: list[Array | None],
    grid: Array | None,
    columns: list[tuple[int, int, Array, Array]],
    desk: "Desk",
    *,
    wide: bool,
) -> Tensor:
    """The rows and columns that stay, with what carriers take over; for grouped weights, each group's own columns."""
    original = tensor
    if grid is not None:
        stays = np.arange(tensor.shape[0]) if index[0] is None else index[0]
        groups, owner = np.unique(stays // (tensor.shape[0] // len(grid)), return_inverse=True)
        width, held = int(grid.sum(1).max()), grid[groups]
        held[~held.any(1), :width] = True  # a group that stays without an input of its own
        picked = held.nonzero()[1].reshape(len(groups), -1)
        tensor = tensor[torch.from_numpy(stays)[:, None], torch.from_numpy(picked[owner])]
        index = [None, None, *index[2:]]
    last = columns[0][0] if columns else -1  # all changes of one weight lie along its input axis
    if not columns and len(index) > 1 and all(i is None for i in index[2:]):
        rows, inner = index[:2]
        if rows is not None and inner is not None and tensor.is_contiguous():
            return desk.block(tensor, rows, inner)
    for axis, which in enumerate(index):
        if which is not None and axis != last:
            tensor = tensor.index_select(axis, torch.from_numpy(which))
    if columns:
        return _with_carried(tensor, index[last], columns, wide=wide)
    return tensor.clone() if tensor is original else tensor.contiguous()


def _with_carried(
    tensor: Tensor, which: Array | None, columns: list[tuple[int, int, Array, Array]], *, wide: bool
) -> Tensor:
    """Cut the input axis, and add the columns that go, scaled, to those that carry them."""
    axis = columns[0][0]
    result = tensor.clone() if which is None else tensor.index_select(axis, torch.from_numpy(which))
    if wide:
        result = result.double()
    for _, carrier, gone, factors in columns:
        moved = tensor.index_select(axis, torch.from_numpy(gone)).double()
        scale = torch.from_numpy(factors).reshape([-1 if d == axis else 1 for d in range(tensor.dim())])
        total = (moved * scale).sum(axis) + tensor.select(axis, carrier).double()
        place = carrier if which is None else int(np.searchsorted(which, carrier))
        result.select(axis, place).copy_(total)
    return result


def _new_bias(
    tensors: Mapping[str, Tensor],
    verdict: Verdict,
    position: int,
    delta: Array,
    rows: Mapping[str, list[Array | None]],
) -> tuple[str, Tensor]:
    """Name and numbers, float64, of a layer's bias with what gone constants gave; of a fresh one if it had none."""
    node = verdict.graph.nodes[position]
    weight = node.inputs[1]
    assert weight is not None
    full = torch.from_numpy(delta)
    if node.inputs[2] is not None:
        name = verdict.graph.values[node.inputs[2]].param
        old = tensors[name].detach().double()
        factor = verdict.edits.rows.get(node.inputs[2])
        full = (old if factor is None else old * torch.from_numpy(factor)) + full
        index = rows[name][0]
    else:
        param = verdict.graph.values[weight].param
        name = param.rpartition(".")[0] + ".bias"
        axis = 1 if node.attributes.get("transposed") else int(node.attributes.get("w_out", 0))
        index = rows[param][axis]
    return name, full if index is None else full[torch.from_numpy(index)]


def _attributes(
    inside: Named,
    copies: Mapping[str, nn.Module],
    verdict: Verdict,
    cuts: set[int],
) -> dict[str, dict[str, Any]]:
    """Module name -> attribute -> value, for every attribute of a known layer that its tensors outgrew.

    Args:
        inside: Modules before the cut.
        copies: Name -> module after it.
        verdict: Who stays.
        cuts: The id of every tensor that the cut changed.
    """
    found: dict[str, dict[str, Any]] = {}
    graph = verdict.graph
    for position, changes in verdict.edits.attributes.items():
        node = graph.nodes[position]
        weight = node.inputs[1]
        owner = node.module if weight is None else graph.values[weight].param.rpartition(".")[0]
        found.setdefault(owner, {}).update(
            {k: v for k, v in changes.items() if hasattr(copies.get(owner), k)}
        )
    for node in graph.nodes:
        if node.kind in BARE and node.inputs[1] is None:  # no tensor says how wide the layer is
            layer = copies.get(node.module)
            before, after = graph.shape(node.outputs[0])[1], verdict.size(node.outputs[0])[1]
            for key in ("num_features", "num_channels"):
                if after != before and isinstance(layer, SIZED) and getattr(layer, key, after) == before:
                    found.setdefault(node.module, {})[key] = after
    for name, old in inside:
        kind: Any = type(old)
        if not _is_sized(kind):
            continue
        own = (*old._parameters.values(), *old._buffers.values())
        # A layer with modules of its own has its tensors made by those, as torch's parametrizations do.
        if not old._modules and cuts.isdisjoint(map(id, own)):
            continue
        module = copies[name]
        groups = found.get(name, {}).get("groups", getattr(module, "groups", 1))
        changed = {k: v for k, v in _sizes(module, groups).items() if getattr(old, k) != v}
        if changed:
            found.setdefault(name, {}).update(changed)
    return found


# Norms that may come without numbers of their own.
BARE = ("instance_norm", "group_norm")
# What `_sizes` knows.
SIZED = (
    nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm,
    nn.PReLU, nn.RNNBase, nn.Embedding,
)  # fmt: skip


@cache
def _is_sized(kind: Any) -> bool:
    """Whether `_sizes` knows a class."""
    return issubclass(kind, SIZED)


def _sizes(module: nn.Module, groups: int) -> dict[str, Any]:
    """What a layer of torch says of its own sizes, read off its tensors."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        w = module.weight
        return {"in_channels": w.shape[0], "out_channels": w.shape[1] * groups}
    if isinstance(module, nn.modules.conv._ConvNd):
        w = module.weight
        return {"in_channels": w.shape[1] * groups, "out_channels": w.shape[0]}
    if isinstance(module, nn.Linear):
        return {"in_features": module.weight.shape[1], "out_features": module.weight.shape[0]}
    if isinstance(module, nn.modules.batchnorm._NormBase):
        known = module.weight if module.weight is not None else module.running_mean
        return {} if known is None else {"num_features": known.shape[0]}
    if isinstance(module, nn.GroupNorm):
        return {} if module.weight is None else {"num_channels": module.weight.shape[0]}
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return {} if module.weight is None else {"normalized_shape": tuple(module.weight.shape)}
    if isinstance(module, nn.PReLU):
        return {"num_parameters": module.weight.shape[0]}
    if isinstance(module, nn.RNNBase):
        first = dict(module.named_parameters())
        return {
            "input_size": first["weight_ih_l0"].shape[1],
            "hidden_size": first["weight_hh_l0"].shape[1],
        }
    if isinstance(module, nn.Embedding):
        return {"embedding_dim": module.weight.shape[1]}
    return {}
