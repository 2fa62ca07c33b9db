# SPDX-License-Identifier: Apache-2.0
"""Modules that take the place of torch's own where those cannot hold the sizes of a shrunk model. Needs torch."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeshift.core.errors import BadWeights


class OpenAttention(nn.Module):
    """`nn.MultiheadAttention` whose inner widths are free of the embedding's.

    Torch's own fixes the head width to `embed_dim / num_heads`. Here query and key channels, value channels and the
    number of heads are free; the scale stays that of the original. The packed projection is held as three.

    Attributes:
        num_heads: Heads left.
        qk_width: Query and key channels per head.
        v_width: Value channels per head.
        scale: Of the dot products.
    """

    # Torch's transformer layers read these and must not take their fused path around this module.
    _qkv_same_embed_dim = False
    in_proj_bias = None

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = (
            original.embed_dim,
            original.num_heads,
            original.head_dim,
        )
        self.qk_width = self.v_width = original.head_dim
        self.scale = original.head_dim**-0.5
        self.batch_first, self.dropout = original.batch_first, original.dropout
        biases: Any = (None, None, None)
        if original.in_proj_bias is not None:
            biases = original.in_proj_bias.detach().chunk(3)
        learns = original.in_proj_weight.requires_grad
        for name, w, b in zip("qkv", original.in_proj_weight.detach().chunk(3), biases, strict=True):
            self.register_parameter(f"{name}_weight", nn.Parameter(w.clone(), requires_grad=learns))
            self.register_parameter(
                f"{name}_bias", None if b is None else nn.Parameter(b.clone(), requires_grad=learns)
            )
        self.out_proj = original.out_proj
        self.training = original.training

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As `nn.MultiheadAttention.forward`, for batched inputs."""
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q = self._heads(query, self.q_weight, self.q_bias, self.qk_width)
        k = self._heads(key, self.k_weight, self.k_bias, self.qk_width)
        v = self._heads(value, self.v_weight, self.v_bias, self.v_width)
        scores = (q * self.scale) @ k.transpose(-2, -1)
        if attn_mask is not None:
            mask = _added(attn_mask, query)
            heads = mask.reshape(-1, self.num_heads, *mask.shape[1:]) if mask.dim() == 3 else mask
            scores = scores + heads
        if key_padding_mask is not None:
            scores = scores + _added(key_padding_mask, query)[:, None, None, :]
        shares = functional.dropout(scores.softmax(-1), self.dropout, self.training)
        out = self.out_proj((shares @ v).transpose(1, 2).flatten(2))
        if not self.batch_first:
            out = out.transpose(0, 1)
        if not need_weights:
            return out, None
        return out, shares.mean(1) if average_attn_weights else shares

    def _heads(self, x: Tensor, weight: Any, bias: Any, width: int) -> Tensor:
        """`(batch, heads, positions, width)`."""
        y: Tensor = functional.linear(x, weight, bias)
        return y.reshape(*y.shape[:-1], self.num_heads, width).transpose(1, 2)


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers that are added to scores."""
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
    return mask.to(like.dtype)


class NarrowConv(nn.Module):
    """A convolution that computes only some of its output channels and leaves the others zero.

    For a branch that adds nothing to some channels of a sum which other branches keep alive.

    Attributes:
        conv: The convolution over the channels that are not zero.
        index: `(channels computed,)` int64: where they go.
        full: Number of output channels, zero ones included.
    """

    index: Tensor

    def __init__(self, original: nn.modules.conv._ConvNd) -> None:
        super().__init__()
        self.conv = original
        self.full = original.out_channels
        self.register_buffer("index", torch.arange(self.full))

    def forward(self, x: Tensor) -> Tensor:
        """As the convolution it stands for."""
        part: Tensor = self.conv(x)
        whole = part.new_zeros(part.shape[0], self.full, *part.shape[2:])
        return whole.index_add(1, self.index, part)


def can_open(module: nn.Module) -> bool:
    """Whether a module is torch's attention in the form that `OpenAttention` can stand in for."""
    if type(module) is not nn.MultiheadAttention:
        return False
    return bool(module._qkv_same_embed_dim and module.bias_k is None and not module.add_zero_attn)


def stand_in_(model: nn.Module, name: str) -> None:
    """Put the stand-in in place of one module of a model.

    Raises:
        BadWeights: If the model has no such module, or one that nothing can stand in for.
    """
    owner, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(name)
    except AttributeError as error:
        raise BadWeights(f"shape plan must fit the model, got module {name!r} that it lacks") from error
    if isinstance(module, OpenAttention | NarrowConv):
        return
    stand_in: nn.Module
    if isinstance(module, nn.MultiheadAttention) and can_open(module):
        stand_in = OpenAttention(module)
    elif isinstance(module, nn.modules.conv._ConvNd):
        stand_in = NarrowConv(module)
    else:
        kind = type(module).__name__
        raise BadWeights(f"module {name} must be attention or a convolution as in the shape plan, got {kind}")
    setattr(model.get_submodule(owner), leaf, stand_in)
