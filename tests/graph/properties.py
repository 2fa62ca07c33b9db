# SPDX-License-Identifier: Apache-2.0
"""What must hold of every shrunk model, checked without the product's own proof."""

import copy

import torch
from torch import Tensor, nn

from edgeshift.core.shape_plan import ShapePlan, resize_
from edgeshift.graph import Shrunk, shrink
from tests.graph.random_networks import Drawn

# Relative to the largest output: float64 leaves only the order of sums; in float32 a constant that moves into
# a bias is rounded once more, and a dozen layers may carry that on.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}


def parameters(model: nn.Module) -> int:
    """Numbers in all parameters; shared ones count once."""
    return sum(p.numel() for p in model.parameters())


def answers(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """All outputs, without gradients."""
    with torch.no_grad():
        out = model(*inputs)
    return out if isinstance(out, tuple) else (out,)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest output; infinity where shapes, NaN or infinities differ."""
    if a.shape != b.shape or not torch.equal(a.isnan(), b.isnan()):
        return float("inf")
    a, b = a[~a.isnan()].double(), b[~b.isnan()].double()
    odd = a.isinf() | b.isinf()
    if not torch.equal(a[odd], b[odd]):
        return float("inf")
    a, b = a[~odd], b[~odd]
    if a.numel() == 0 or torch.equal(a, b):
        return 0.0
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))


def other_inputs(drawn: Drawn) -> list[tuple[Tensor, ...]]:
    """Fresh inputs: the same sizes, another batch, longer and unequal space, a border of ones."""
    generator = torch.Generator().manual_seed(11)

    def like(sizes: list[tuple[int, ...]]) -> tuple[Tensor, ...]:
        kind = drawn.example[0].dtype
        return tuple(torch.randn(s, generator=generator, dtype=torch.float64).to(kind) * 3 for s in sizes)

    shapes = [tuple(x.shape) for x in drawn.example]
    found = [like(shapes), like([(s[0] + 2, *s[1:]) for s in shapes])]
    found.append(like([(*s[:2], *(n + 2 for n in s[2:])) for s in shapes]))
    found.append(like([(*s[:2], s[2] + 1, *s[3:]) for s in shapes]))
    edge = tuple(torch.ones_like(x) for x in drawn.example)
    for x in edge:
        x[(slice(None), slice(None), *[slice(1, -1)] * (x.dim() - 2))] = 0
    return [*found, edge]


def check(drawn: Drawn) -> Shrunk:
    """Shrink a drawn network and hold the result to every promise; the result."""
    model = drawn.model
    before = {n: t.clone() for n, t in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    shrunk = shrink(model, drawn.example)

    assert modes == [m.training for m in model.modules()]
    for name, tensor in model.state_dict().items():
        assert tensor.numpy().tobytes() == before[name].numpy().tobytes(), f"{name} of the input changed"
    assert type(shrunk.model) is type(model)
    assert all(t.is_contiguous() for t in shrunk.model.state_dict().values())

    assert shrunk.report.before.parameters == parameters(model)
    assert shrunk.report.after.parameters == parameters(shrunk.model) <= parameters(model)

    tolerance = TOLERANCES[drawn.example[0].dtype]
    compared = 0
    for inputs in other_inputs(drawn):
        try:
            want = answers(model, inputs)
        except RuntimeError:  # this size does not fit the network: a flatten, a pad larger than the input
            continue
        got = answers(shrunk.model, inputs)
        compared += 1
        assert len(want) == len(got)
        for a, b in zip(want, got, strict=True):
            assert difference(a, b) <= tolerance, f"outputs differ by {difference(a, b):.3g}"
    assert compared >= 2

    again = shrink(shrunk.model, drawn.example, prove_it=False)
    assert again.report.before == shrunk.report.after
    assert again.report.after == shrunk.report.after, "shrinking again removes more"

    plan = ShapePlan.from_json(shrunk.plan.to_json())
    fresh = resize_(copy.deepcopy(model), plan, {n: t.clone() for n, t in shrunk.model.state_dict().items()})
    for a, b in zip(answers(shrunk.model, drawn.example), answers(fresh, drawn.example), strict=True):
        assert torch.equal(a.nan_to_num(7.25), b.nan_to_num(7.25)), "a reloaded plan changes outputs"
    return shrunk
