# SPDX-License-Identifier: Apache-2.0
"""Torch-Pruning on our networks, tuned by our loop: the rival in the same report, under the same budget.

Its published recipe: group magnitude (DepGraph, Fang et al., CVPR 2023, https://arxiv.org/abs/2301.12900), all layers
ranked together, cut in small steps until the count of multiply-accumulates is reached, then fine-tuned.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
import torch_pruning as tp
from torch import Tensor, nn

# Of the way to removing 90 % of all channels; small enough that the target is met to within 2 %.
STEPS = 150
MOST = 0.9


def macs(model: nn.Module, sample: Tensor) -> float:
    """Multiply-accumulates for one input, as Torch-Pruning counts them."""
    found: float = tp.utils.count_ops_and_params(model, sample[:1])[0]
    return found


def torch_pruned(model: nn.Module, sample: Tensor, share: float) -> tuple[nn.Module, str]:
    """A pruned copy that has at most `share` of the multiply-accumulates, and what was left alone.

    Where its dependency graph breaks a network (parameter-free shortcuts that pad channels do), only the channels
    inside residual blocks may go, as its authors do by hand.
    """
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]
    tries: list[tuple[str, Callable[[nn.Module], Sequence[nn.Module]]]] = [
        ("the classifier", lambda m: [x for x in m.modules() if isinstance(x, nn.Linear)][-1:]),
        ("the classifier and every layer that writes to a residual stream", stream),
    ]
    assert last, "a classifier"
    for said, ignored in tries:
        pruned = deepcopy(model).eval()
        try:
            if cut(pruned, sample, share, list(ignored(pruned))):
                return pruned, said
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            print(f"Torch-Pruning with {said} left alone: {' '.join(str(error).split())[:160]}")
    raise SystemExit("Torch-Pruning could not prune this network")


def stream(model: nn.Module) -> list[nn.Module]:
    """Layers that write to a residual stream, by the names of the CIFAR ResNets, and the classifier."""
    ends = ("conv2", "shortcut")
    found = [
        m for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and (n == "conv1" or n.endswith(ends))
    ]
    return [*found, *[m for m in model.modules() if isinstance(m, nn.Linear)][-1:]]


def cut(model: nn.Module, sample: Tensor, share: float, ignored: list[nn.Module]) -> bool:
    """Prune in place, step by step; whether the share was reached and the network still runs."""
    before = macs(model, sample)
    pruner = tp.pruner.BasePruner(
        model,
        sample[:1],
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=MOST,
        max_pruning_ratio=MOST,
        iterative_steps=STEPS,
        ignored_layers=ignored,
    )
    for _ in range(STEPS):
        pruner.step()
        if macs(model, sample) <= share * before:
            with torch.no_grad():
                model(sample)
            return True
    return False
