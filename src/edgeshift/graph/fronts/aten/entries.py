# SPDX-License-Identifier: Apache-2.0
"""Operators that work entry by entry."""

from typing import Any

import torch

from edgeshift.graph.fronts.walker import CALLS, Number, Walker


def op_dropout(walk: Walker, x: Any, p: Any, train: Any) -> Number | None:
    return None if train else walk.emit("elementwise", [x], fn="identity")


op_feature_dropout = op_dropout


op_alpha_dropout = op_dropout


def op_to(walk: Walker, x: Any, *args: Any, **kwargs: Any) -> Number | None:
    before, after = x.meta["val"].dtype, walk.node.meta["val"].dtype
    if not after.is_floating_point:
        return walk.emit("elementwise", [x], fn=None)
    coarser = before.is_floating_point and torch.finfo(after).eps > torch.finfo(before).eps
    return walk.emit("elementwise", [x], fn="narrow" if coarser else "identity")


op__to_copy = op_to


def op_gelu(walk: Walker, x: Any, approximate: Any = "none") -> Number | None:
    return walk.emit("elementwise", [x], fn="gelu", options={"approximate": approximate})


def op_leaky_relu(walk: Walker, x: Any, slope: Any = 0.01) -> Number | None:
    return walk.emit("elementwise", [x], fn="leaky_relu", options={"slope": slope})


op_leaky_relu_ = op_leaky_relu


def op_elu(walk: Walker, x: Any, alpha: Any = 1.0, scale: Any = 1.0, input_scale: Any = 1.0) -> Number | None:
    options = {"alpha": alpha, "scale": scale, "input_scale": input_scale}
    return walk.emit("elementwise", [x], fn="elu", options=options)


op_elu_ = op_elu


def op_celu(walk: Walker, x: Any, alpha: Any = 1.0) -> Number | None:
    return op_elu(walk, x, alpha, 1.0, 1 / alpha)


def op_selu(walk: Walker, x: Any) -> Number | None:
    # The two constants of Klambauer et al., NeurIPS 2017 (arXiv 1706.02515), as torch writes them.
    return op_elu(walk, x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


op_celu_, op_selu_ = op_celu, op_selu


def op_softplus(walk: Walker, x: Any, beta: Any = 1.0, threshold: Any = 20.0) -> Number | None:
    return walk.emit("elementwise", [x], fn="softplus", options={"beta": beta, "threshold": threshold})


def op_clamp(walk: Walker, x: Any, min: Any = None, max: Any = None) -> Number | None:
    if isinstance(min, CALLS) or isinstance(max, CALLS):
        return None
    return walk.emit("elementwise", [x], fn="clip", options={"low": min, "high": max})


op_clamp_ = op_clamp


op_hardtanh = op_clamp


op_hardtanh_ = op_clamp


def op_clamp_min(walk: Walker, x: Any, min: Any) -> Number | None:
    return op_clamp(walk, x, min, None)


def op_relu6(walk: Walker, x: Any) -> Number | None:
    return op_clamp(walk, x, 0, 6)


op_relu6_ = op_relu6


def op_prelu(walk: Walker, x: Any, weight: Any) -> Number | None:
    if len(walk.shape(x)) < 2:
        return None
    return walk.emit("prelu", [x, weight], fn="prelu")
