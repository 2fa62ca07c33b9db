# SPDX-License-Identifier: Apache-2.0
"""einsum as sums, transposes and matrix products; for any front end."""

from collections.abc import Sequence
from typing import Any, Protocol

from edgeshift.graph.channels import ChannelGraph


class Front(Protocol):
    """Whoever fills a graph."""

    graph: ChannelGraph

    def emit(self, kind: str, inputs: Any, shape: tuple[int, ...] | None = None, **attributes: Any) -> int:
        """Add a node; the number of what it makes."""


def made_of_weights(graph: ChannelGraph, number: int) -> bool:
    """Whether a value is a parameter, or one that was only moved around."""
    for node in reversed(graph.nodes):
        if number in node.outputs:
            source = node.inputs[0] if node.kind in ("permute", "reshape") else None
            return source is not None and made_of_weights(graph, source)
    return bool(graph.values[number].param)


def einsum(front: Front, equation: str, numbers: Sequence[int]) -> int | None:
    """One or two tensors: what only one of them has is summed first, then it is a linear layer or a matrix product.

    Args:
        front: Takes the nodes.
        equation: Such as "nchw,oc->nohw", with an arrow.
        numbers: The tensors.

    Returns:
        The result's number; None for diagonals, dots, more tensors, or several axes where a product has one.
    """
    given, arrow, out = equation.replace(" ", "").partition("->")
    terms = given.split(",")
    odd = any(len(set(t)) < len(t) or not (t.isalpha() or not t) for t in (*terms, out))
    if not arrow or odd or len(terms) != len(numbers) or len(terms) > 2:
        return None
    sizes: dict[str, int] = {}
    for term, number in zip(terms, numbers, strict=True):
        for letter, size in zip(term, front.graph.shape(number), strict=True):
            if sizes.setdefault(letter, size) != size:
                return None
    parts = []
    for k, (term, number) in enumerate(zip(terms, numbers, strict=True)):
        others = out + "".join(terms[:k] + terms[k + 1 :])
        parts.append(_summed(front, term, number, others, sizes))
    if len(parts) == 1:
        return _ordered(front, *parts[0], out, sizes)
    return _product(front, parts[0], parts[1], out, sizes)


def _product(
    front: Front, first: tuple[str, int], second: tuple[str, int], out: str, sizes: dict[str, int]
) -> int | None:
    """The sum over the one axis that two tensors share and the result has not."""
    if made_of_weights(front.graph, first[1]) and not made_of_weights(front.graph, second[1]):
        first, second = second, first
    (left, a), (right, b) = first, second
    inner = "".join(x for x in left if x in right and x not in out)
    batch = "".join(x for x in left if x in right and x in out)
    rows, columns = ("".join(x for x in t if x not in o) for t, o in ((left, right), (right, left)))
    if len(inner) != 1:
        return None
    lead, high, wide = ([sizes[x] for x in part] for part in (batch, rows, columns))
    if not batch and len(columns) == 1 and made_of_weights(front.graph, b):
        a, b = (
            _ordered(front, left, a, rows + inner, sizes),
            _ordered(front, right, b, inner + columns, sizes),
        )
        made = front.emit("linear", [a, b, None], (*high, *wide), w_out=1, can_bias=False)
        return _ordered(front, rows + columns, made, out, sizes)
    if len(rows) > 1 or len(columns) > 1:
        return None
    a = _ordered(front, left, a, batch + rows + inner, sizes)
    b = _ordered(front, right, b, batch + inner + columns, sizes)
    if not rows:
        a = front.emit("reshape", [a], (*lead, 1, sizes[inner]))
    if not columns:
        b = front.emit("reshape", [b], (*lead, sizes[inner], 1))
    made = front.emit("matmul", [a, b], (*lead, *(high or [1]), *(wide or [1])))
    if not rows or not columns:
        made = front.emit("reshape", [made], (*lead, *high, *wide))
    return _ordered(front, batch + rows + columns, made, out, sizes)


def _summed(front: Front, term: str, number: int, others: str, sizes: dict[str, int]) -> tuple[str, int]:
    """A tensor without the axes that nobody else names."""
    gone = tuple(d for d, x in enumerate(term) if x not in others)
    if not gone:
        return term, number
    left = "".join(x for x in term if x in others)
    shape = tuple(sizes[x] for x in left)
    return left, front.emit("reduce", [number], shape, fn="sum", axes=gone, keepdim=False)


def _ordered(front: Front, term: str, number: int, wanted: str, sizes: dict[str, int]) -> int:
    """A tensor with its axes in another order."""
    if term == wanted:
        return number
    shape = tuple(sizes[x] for x in wanted)
    return front.emit("permute", [number], shape, order=tuple(term.index(x) for x in wanted))
