# SPDX-License-Identifier: Apache-2.0
"""Run the original and the result in float64 on random and extreme inputs; they must agree."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from edgeshift.core.errors import NotExact
from edgeshift.core.shape_plan import ShapePlan, resize_
from edgeshift.core.values import Proof
from edgeshift.graph.analyse import Verdict
from edgeshift.graph.fronts.torch_export import evaluating
from edgeshift.graph.surgery import copy_module, cut, exact_copy
from edgeshift.graph.widen import widened

KINDS = ("random", "border", "zeros", "large", "other size")
# What float32 rounding may do to the order of sums in a deep network, relative to the largest output.
FLOAT32_TOLERANCE = 1e-5
# Two orders of summation may each be off by as much as the model is from its float64 answers, and by more on another
# output; ResNet-50 with 2x2 maps is off by 4e-5, its shrunk form differs by 3e-5 (bench/records/shrink_networks).
ROUNDINGS = 4


Model = Callable[[nn.Module], nn.Module]


def prove(
    model: nn.Module,
    prepare: Model,
    small: nn.Module,
    verdict: Verdict,
    plan: ShapePlan,
    example: tuple[Any, ...],
    tolerance: float,
) -> Proof:
    """Show that the small model computes what the model does.

    Both run in float64, and what the cut computed is computed again in it, so that rounding cannot hide or fake a
    difference; then both models are compared in their own dtype. Parameters are widened one call at a time: the
    proof of a large model needs little more memory than the model. Where that does not reach the tolerance, since
    some code of the user's takes no part in it, float64 copies of both models decide.

    Args:
        model: The original.
        prepare: What was done to it before the cut; done again in float64.
        small: The cut copy.
        verdict: What was cut.
        plan: The small model's; its attributes go onto the float64 copy too.
        example: The traced positional arguments.
        tolerance: On the largest difference over the largest output, in float64.

    Raises:
        NotExact: Naming the first layer that differs.
    """
    try:
        worst, kinds = check_same(model, exact_copy(small, prepare(model), verdict), example, tolerance)
    except Exception:  # of the comparison, or of operators that met two types
        wide = copy_module(model).double()
        wide_small, _ = cut(prepare(wide), verdict)
        resize_(wide_small, ShapePlan(attributes=plan.attributes), {})
        worst, kinds = check_same(wide, wide_small, example, tolerance, verdict)
        del wide, wide_small
    worst_own = 0.0
    allowed = own_tolerance(model, example)
    for kind, inputs in trials(example):
        if kind in kinds and kind != "large":  # sums of large numbers round by more in any order
            own = compare(model, small, inputs)
            if not own <= allowed:
                limit = max(allowed, ROUNDINGS * rounding(model, inputs))
                if not own <= limit:
                    raise NotExact(
                        f"the shrunk model must agree within {limit:.3g}, got {own:.3g} on {kind} input"
                    )
            worst_own = max(worst_own, own)
    return Proof(worst, worst_own, len(kinds), tuple(kinds), tolerance).check()


def own_tolerance(model: nn.Module, example: tuple[Any, ...]) -> float:
    """`FLOAT32_TOLERANCE`, wider as the model's own dtype is coarser than float32."""
    tensors = [*model.parameters(), *(x for x in tree_leaves(example) if isinstance(x, Tensor))]
    steps = [torch.finfo(t.dtype).eps for t in tensors if t.is_floating_point()]
    single = torch.finfo(torch.float32).eps
    return FLOAT32_TOLERANCE * max(single, *steps, single) / single


def rounding(model: nn.Module, inputs: tuple[Any, ...]) -> float:
    """How far the model's answers are from those in float64, relative to the largest."""
    with widened():
        exact = run(model, _as(inputs, torch.float64))
    own = run(model, inputs)
    return max((relative(a, b.to(a.dtype)) for a, b in zip(exact, own, strict=True)), default=0.0)


def check_same(
    wide: nn.Module,
    small: nn.Module,
    example: tuple[Any, ...],
    tolerance: float,
    verdict: Verdict | None = None,
) -> tuple[float, list[str]]:
    """Compare two models in float64 on every kind of input.

    Returns:
        The largest relative difference, and the kinds of input that the models take.

    Raises:
        NotExact: If it is above the tolerance.
    """
    worst, kinds = 0.0, []
    for kind, inputs in trials(example):
        inputs = _as(inputs, torch.float64)
        with widened():
            if kind == "other size" and not runs(wide, inputs):
                continue  # the model takes one size only
            kinds.append(kind)
            error = compare(wide, small, inputs)
            layer = ""
            if verdict is not None and not error <= tolerance:
                layer = first_difference(wide, small, verdict, inputs, tolerance)
        if not error <= tolerance:
            raise NotExact(
                f"the shrunk model must agree within {tolerance:g} in float64, got {error:.3g} on {kind} input;"
                f" first difference in {layer or 'a narrowed branch'}"
            )
        worst = max(worst, error)
    return worst, kinds


def trials(example: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Inputs like the example: random, only borders, zeros, large, of another size.

    Integers are drawn from the example's range. Another size is one sample more, and half as much space again
    where there are two or more axes of it.
    """
    generator = torch.Generator().manual_seed(0)
    for kind in KINDS:
        yield kind, tree_map_only(Tensor, partial(_like, kind=kind, generator=generator), example)


def _like(x: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    if x.dtype == torch.bool:
        return x
    if not x.is_floating_point():
        if kind == "zeros":
            return torch.zeros_like(x)
        shape = (x.shape[0] + 1, *x.shape[1:]) if kind == "other size" and x.dim() > 0 else x.shape
        high = int(x.max()) + 1 if x.numel() else 1
        return torch.randint(0, max(high, 1), shape, generator=generator, dtype=x.dtype)
    if kind == "zeros":
        return torch.zeros_like(x)
    if kind == "other size" and x.dim() > 0:
        space = [n + n // 2 for n in x.shape[2:]] if x.dim() > 3 else list(x.shape[2:])
        return torch.randn([x.shape[0] + 1, *x.shape[1:2], *space], generator=generator).to(x.dtype)
    drawn = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x.dtype)
    if kind == "large":
        return drawn * 1e4
    if kind == "border" and x.dim() > 2:
        inside = tuple(slice(1, -1) for _ in range(x.dim() - 2))
        drawn[(slice(None), slice(None), *inside)] = 0
    return drawn


def _as(inputs: tuple[Any, ...], dtype: torch.dtype) -> tuple[Any, ...]:
    found: tuple[Any, ...] = tree_map_only(
        Tensor, lambda x: x.to(dtype) if x.is_floating_point() else x, inputs
    )
    return found


def runs(model: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """Whether a model takes these inputs at all."""
    try:
        run(model, inputs)
    except Exception:  # whatever the user's forward raises on sizes it was not made for
        return False
    return True


def run(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """All output tensors of a model in evaluation mode, flattened in order; the same random numbers every time."""
    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        leaves = tree_leaves(model(*inputs))
    return [x for x in leaves if isinstance(x, Tensor)]


def compare(model: nn.Module, small: nn.Module, inputs: tuple[Any, ...]) -> float:
    """Largest |difference| over largest |output|, the worst over all outputs.

    Infinity where shapes differ, or where the small model fails on what the model takes.
    """
    wanted = run(model, inputs)
    try:
        got = run(small, inputs)
    except Exception:  # whatever the user's forward raises; to fail where the model does not is to differ
        return float("inf")
    return max((relative(a, b) for a, b in zip(wanted, got, strict=True)), default=0.0)


def relative(a: Tensor, b: Tensor) -> float:
    """Largest |a - b| over largest |a|; equal NaN and infinities count as equal."""
    if a.shape != b.shape:
        return float("inf")
    if a.is_complex() and b.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    if not a.is_floating_point():
        return float((a != b).any())
    same = (a == b) | (a.isnan() & b.isnan())
    if bool(same.all()):
        return 0.0
    finite = a.isfinite() & b.isfinite()
    if not bool((finite | same).all()):
        return float("inf")
    top = float(a[finite].abs().max())
    return float((a - b)[finite].abs().max()) / (top if top > 0 else 1.0)


def first_difference(
    model: nn.Module, small: nn.Module, verdict: Verdict, inputs: tuple[Any, ...], tolerance: float
) -> str:
    """Name of the first module whose kept channels differ between the two models."""
    last = {n.module: n.outputs[0] for n in verdict.graph.nodes if n.module}
    seen = [_outputs(m, set(last), inputs) for m in (model, small)]
    for name, full in seen[0].items():
        part = seen[1].get(name)
        if part is None:
            continue
        number = last[name]
        if full.dim() != len(verdict.graph.shape(number)):
            continue
        for axis in range(full.dim()):
            stays = verdict.kept(number, axis)
            if len(stays) == full.shape[axis] and not stays.all():
                full = full.index_select(axis, torch.from_numpy(stays.nonzero()[0]))
        if relative(full, part) > tolerance:
            return f"{name} ({type(model.get_submodule(name)).__name__})"
    return "the model's own forward"


def _outputs(model: nn.Module, names: set[str], inputs: tuple[Any, ...]) -> dict[str, Tensor]:
    """Module name -> its output, in the order they ran."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and name not in found:
                found[name] = output

        return hook

    handles = [m.register_forward_hook(keep(n)) for n, m in model.named_modules() if n in names]
    try:
        run(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found
